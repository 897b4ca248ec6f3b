-- Apply what a worker made of the entries of a shared stage: of each entry once, whoever else has worked on it.
--
-- KEYS[1]    flow
-- KEYS[2]    state: of the stage
-- KEYS[3]    events: the input that the entries are of
-- KEYS[4..]  every other key that a command names
-- ARGV[1]    run: "<run>.<revision>"
-- ARGV[2]    group
-- ARGV[3]    input: its name in the state
-- ARGV[4]    types: what each of KEYS[4..] holds, "stream", "hash", "string" or "zset", separated by spaces
-- ARGV[5]    n: how many entries do nothing that is to be applied
-- ARGV[6..]  n IDs; then for each other entry: ID, how many commands, and those, each as: name, index in KEYS, how many
--            arguments, arguments
-- RETURNS    {outcome, done}; outcome is "committed", "stopped" (the run or revision is another, or has ended), "gone"
--            (there is no such group), or "damaged" followed by the key that holds something of another type, that type,
--            and the right one; done is how many of the entries were nobody's before
-- WHY        An entry is acknowledged and its effects are applied in one step, and only where the acknowledgement
--            counts: of two workers that did the same entry one has an effect, and a commit that is sent again has none.
local flow = redis.call('HMGET', KEYS[1], 'run', 'revision', 'status')
if (flow[1] or '') .. '.' .. (flow[2] or '') ~= ARGV[1] or (flow[3] ~= 'running' and flow[3] ~= 'leaving') then
  return {'stopped'}
end
local index = 4
for expected in string.gmatch(ARGV[4], '%S+') do
  local found = redis.call('TYPE', KEYS[index])
  found = type(found) == 'table' and found.ok or found
  if tostring(found) ~= 'none' and tostring(found) ~= expected then
    return {'damaged', KEYS[index], tostring(found), expected}
  end
  index = index + 1
end
local groups, ours = redis.pcall('XINFO', 'GROUPS', KEYS[3]), nil
for _, info in ipairs(groups.err and {} or groups) do
  local named = {}
  for i = 1, #info, 2 do
    named[info[i]] = info[i + 1]
  end
  if named.name == ARGV[2] then
    ours = named
  end
end
if not ours then
  return {'gone'}
end

local at, done = 6, 0
for _ = 1, tonumber(ARGV[5]) do
  done = done + redis.call('XACK', KEYS[3], ARGV[2], ARGV[at])
  at = at + 1
end
while at <= #ARGV do
  local is_ours = redis.call('XACK', KEYS[3], ARGV[2], ARGV[at]) == 1
  local count = tonumber(ARGV[at + 1])
  done = done + (is_ours and 1 or 0)
  at = at + 2
  for _ = 1, count do
    local name, key, length = ARGV[at], KEYS[tonumber(ARGV[at + 1])], tonumber(ARGV[at + 2])
    if is_ours then
      redis.call(name, key, unpack(ARGV, at + 3, at + 2 + length))
    end
    at = at + 3 + length
  end
end

-- The position says, as for a stage with an owner: up to here all is done.
local position = ours['last-delivered-id']
local pending = redis.call('XPENDING', KEYS[3], ARGV[2])
if pending[1] > 0 then
  local ms, sequence = string.match(pending[2], '^(%d+)-(%d+)$')
  if sequence == '0' then
    position = string.format('%.0f', tonumber(ms) - 1) .. '-18446744073709551615'
  else
    position = ms .. '-' .. string.format('%.0f', tonumber(sequence) - 1)
  end
end
redis.call('HSET', KEYS[2], 'events:' .. ARGV[3], position)
redis.call('HINCRBY', KEYS[2], 'read:' .. ARGV[3], done)
redis.call('HINCRBY', KEYS[2], 'commits', 1)
return {'committed', done}
