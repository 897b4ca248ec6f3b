-- Say that a shared stage has drained, if it has: everything up to the barrier was given out, and is done.
--
-- KEYS[1]   flow
-- KEYS[2]   state: of the stage
-- KEYS[3]   exit
-- KEYS[4..] events: of each input
-- ARGV[1]   run: "<run>.<revision>"
-- ARGV[2]   group
-- ARGV[3]   stage
-- ARGV[4..] names of the inputs, in the order of KEYS
-- RETURNS   {outcome}; outcome is "drained", "waiting" (there is something to do yet), "stopped" (the run or revision is
--           another, or has ended), or "gone" (an input has no such group)
-- WHY       No worker knows what the others still have in hand; Redis does.  It is said once, whoever sees it first.
local flow = redis.call('HMGET', KEYS[1], 'run', 'revision', 'status', 'barrier')
if (flow[1] or '') .. '.' .. (flow[2] or '') ~= ARGV[1] or flow[3] ~= 'leaving' then
  return {'stopped'}
end
if redis.call('HGET', KEYS[2], 'drained') == ARGV[1] then
  return {'drained'}
end
local positions = {}
for i = 4, #KEYS do
  local groups, ours = redis.pcall('XINFO', 'GROUPS', KEYS[i]), nil
  for _, info in ipairs(groups.err and {} or groups) do
    local named = {}
    for j = 1, #info, 2 do
      named[info[j]] = info[j + 1]
    end
    if named.name == ARGV[2] then
      ours = named
    end
  end
  if not ours then
    return {'gone'}
  end
  -- Behind the barrier nothing is published, so what is not there now will never be.
  local rest = redis.call('XRANGE', KEYS[i], '(' .. ours['last-delivered-id'], '+', 'COUNT', '1')
  if ours.pending > 0 or #rest > 0 then
    return {'waiting'}
  end
  positions[#positions + 1] = 'events:' .. ARGV[i]
  positions[#positions + 1] = ours['last-delivered-id']
end
redis.call('HSET', KEYS[2], 'drained', ARGV[1], unpack(positions))
redis.call('XADD', KEYS[3], '*', 'drained', ARGV[3])
return {'drained'}
