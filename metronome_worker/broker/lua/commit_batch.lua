-- Apply all that a batch does, once, or nothing of it.
--
-- KEYS[1]    lease: of the owner
-- KEYS[2]    flow
-- KEYS[3]    state: of the owner
-- KEYS[4..]  every other key that a command names
-- ARGV[1]    value of the lease: "<epoch> <holder>"
-- ARGV[2]    run: "<run>.<revision>"
-- ARGV[3]    commits: how many commits the owner believes were made before this one
-- ARGV[4]    types: what each of KEYS[4..] holds, "stream", "hash", "string" or "zset", separated by spaces
-- ARGV[5]    drained: 1 when the commit says that the stage has drained to the barrier, else 0
-- ARGV[6]    n: how many fields of the state change
-- ARGV[7..]  n times: field, value; then the commands, each as: name, index in KEYS, how many arguments, arguments
-- RETURNS    {outcome, commits}; outcome is "committed", "fenced" (another owns), "stopped" (the run or revision is
--            another, or has ended; or a stage says that it has drained of a flow that does not leave), "moved" (the
--            state has seen commits that the caller does not know of), or "damaged" followed by the key that holds
--            something of another type, that type, and the right one
-- WHY        A commit whose reply was lost is sent again as it is: the counter tells that it was applied, and it is
--            not applied twice.  Nothing is written before all is checked, as a script that fails half way stays half
--            done.  No stage drains to a barrier that a failover has taken back.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return {'fenced'}
end
local flow = redis.call('HMGET', KEYS[2], 'run', 'revision', 'status')
if (flow[1] or '') .. '.' .. (flow[2] or '') ~= ARGV[2] or (flow[3] ~= 'running' and flow[3] ~= 'leaving') then
  return {'stopped'}
end
if ARGV[5] == '1' and flow[3] ~= 'leaving' then
  return {'stopped'}
end
local commits = redis.call('HGET', KEYS[3], 'commits') or '0'
if commits ~= ARGV[3] then
  local epoch = redis.call('HGET', KEYS[3], 'epoch')
  if tonumber(commits) == tonumber(ARGV[3]) + 1 and epoch == string.match(ARGV[1], '^%d+') then
    return {'committed', commits}
  end
  return {'moved', commits}
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

commits = tostring(tonumber(commits) + 1)
redis.call('HSET', KEYS[3], 'commits', commits, 'epoch', string.match(ARGV[1], '^%d+'))
local at = 7
for _ = 1, tonumber(ARGV[6]) do
  redis.call('HSET', KEYS[3], ARGV[at], ARGV[at + 1])
  at = at + 2
end
while at <= #ARGV do
  local name, key, count = ARGV[at], KEYS[tonumber(ARGV[at + 1])], tonumber(ARGV[at + 2])
  local command, subcommand = string.match(name, '^(%S+) ?(%S*)$')
  local args = {}
  for i = 1, count do
    args[i] = ARGV[at + 2 + i]
  end
  if subcommand ~= '' then
    -- Only the pointers of groups, which are there for people to see the lag.
    redis.pcall(command, subcommand, key, unpack(args))
  else
    redis.call(command, key, unpack(args))
  end
  at = at + 3 + count
end
return {'committed', commits}
