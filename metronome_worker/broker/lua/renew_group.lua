-- Make the group of a shared stage again on a stream that was made anew.
--
-- KEYS[1]  flow
-- KEYS[2]  state: of the stage
-- KEYS[3]  events: an input
-- ARGV[1]  run: "<run>.<revision>"
-- ARGV[2]  group
-- ARGV[3]  input: its name in the state
-- RETURNS  {outcome}; outcome is "there" (the group exists, now), "stopped" (the run or revision is another, or has
--          ended), or "gone" (the group was taken from a stream that goes on: which entries are done is not known)
-- WHY      Somebody has put a stream aside, or deleted it.  Nothing is done yet of one that has had fewer entries
--          than were ever done.  Two workers find out at the same time, and the second must not begin anew.
local flow = redis.call('HMGET', KEYS[1], 'run', 'revision', 'status')
if (flow[1] or '') .. '.' .. (flow[2] or '') ~= ARGV[1] or (flow[3] ~= 'running' and flow[3] ~= 'leaving') then
  return {'stopped'}
end
local groups = redis.pcall('XINFO', 'GROUPS', KEYS[3])
for _, info in ipairs(groups.err and {} or groups) do
  for i = 1, #info, 2 do
    if info[i] == 'name' and info[i + 1] == ARGV[2] then
      return {'there'}
    end
  end
end
local last, added = '0-0', 0
if redis.call('EXISTS', KEYS[3]) == 1 then
  local info = redis.call('XINFO', 'STREAM', KEYS[3])
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then last = info[i + 1] end
    if info[i] == 'entries-added' then added = info[i + 1] end
  end
end
-- A stream that goes on has had at least as many entries as are done of it.
if last ~= '0-0' and added >= tonumber(redis.call('HGET', KEYS[2], 'read:' .. ARGV[3]) or 0) then
  return {'gone'}
end
redis.call('XGROUP', 'CREATE', KEYS[3], ARGV[2], '0-0', 'MKSTREAM')
redis.call('HSET', KEYS[2], 'events:' .. ARGV[3], '0-0', 'read:' .. ARGV[3], '0')
return {'there'}
