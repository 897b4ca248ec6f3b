-- Put dead letters back: each becomes an entry for its stage to work on, and is a dead letter no more.
--
-- KEYS[1]   flow
-- KEYS[2]   dead
-- KEYS[3..] events: the inputs for what is put back
-- ARGV[1]   run: "<run>.<revision>"
-- ARGV[2..] for each letter: ID, index of the input in KEYS
-- RETURNS   {outcome, ID of each letter that was put back…}; outcome is "replayed", "stopped" (the revision is another),
--           or "leaving" (the run is about to end, or has ended: nobody would work on them)
-- WHY       One step, so that a letter is worked on once, however often and by how many it is put back.
local flow = redis.call('HMGET', KEYS[1], 'run', 'revision', 'status')
if (flow[1] or '') .. '.' .. (flow[2] or '') ~= ARGV[1] then
  return {'stopped'}
end
if flow[3] ~= 'running' then
  return {'leaving'}
end
local time = redis.call('TIME')
local ingest_ns = time[1] .. string.format('%06d', tonumber(time[2])) .. '000'
local reply = {'replayed'}
for i = 2, #ARGV, 2 do
  local letter = redis.call('XRANGE', KEYS[2], ARGV[i], ARGV[i])[1]
  local fields = {}
  for j = 1, letter and #letter[2] or 0, 2 do
    fields[letter[2][j]] = letter[2][j + 1]
  end
  if fields.event then
    -- `of` tells for which entry and where it failed, so that nobody looks for the letter in vain.
    local of = (fields.entry or '') .. ' at ' .. (fields.node or '')
    redis.call('XADD', KEYS[tonumber(ARGV[i + 1])], '*', 'data', fields.event, 'ingest_ns', ingest_ns,
      'meta', fields.meta or '{}', 'of', of)
    redis.call('XDEL', KEYS[2], ARGV[i])
    reply[#reply + 1] = ARGV[i]
  end
end
return reply
