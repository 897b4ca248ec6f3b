-- Publish what a source read from outside, and where it goes on reading, in one step.
--
-- KEYS[1]   lease: of the source
-- KEYS[2]   flow
-- KEYS[3]   state: of the source
-- KEYS[4]   events
-- ARGV[1]   value of the lease: "<epoch> <holder>"
-- ARGV[2]   run: "<run>.<revision>"
-- ARGV[3]   commits: how many the caller believes were made before this one
-- ARGV[4]   cursor (JSON)
-- ARGV[5]   cap: how many entries the stream may hold before its source must wait
-- ARGV[6..] for each event: data (JSON), meta (JSON, may be empty)
-- RETURNS   {outcome, commits}; outcome is "committed", "fenced", "leaving" (nothing is published any more), "stopped"
--           (the run or revision is another, or has ended), "paused", "moved", or "full"
-- WHY       An event is in the stream if and only if the cursor is behind it, so a crash neither loses nor repeats one.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return {'fenced'}
end
local flow = redis.call('HMGET', KEYS[2], 'run', 'revision', 'status', 'paused')
if (flow[1] or '') .. '.' .. (flow[2] or '') ~= ARGV[2] or flow[3] == 'ended' then
  return {'stopped'}
end
if flow[3] ~= 'running' then
  return {'leaving'}
end
if flow[4] then
  return {'paused'}
end
local commits = redis.call('HGET', KEYS[3], 'commits') or '0'
if commits ~= ARGV[3] then
  local epoch = redis.call('HGET', KEYS[3], 'epoch')
  if tonumber(commits) == tonumber(ARGV[3]) + 1 and epoch == string.match(ARGV[1], '^%d+') then
    return {'committed', commits}
  end
  return {'moved', commits}
end
if redis.call('XLEN', KEYS[4]) >= tonumber(ARGV[5]) then
  return {'full'}
end
local time = redis.call('TIME')
local ingest_ns = time[1] .. string.format('%06d', tonumber(time[2])) .. '000'
commits = tostring(tonumber(commits) + 1)
redis.call('HSET', KEYS[3], 'commits', commits, 'epoch', string.match(ARGV[1], '^%d+'), 'cursor', ARGV[4])
for i = 6, #ARGV, 2 do
  if ARGV[i + 1] == '' then
    redis.call('XADD', KEYS[4], '*', 'data', ARGV[i], 'ingest_ns', ingest_ns)
  else
    redis.call('XADD', KEYS[4], '*', 'data', ARGV[i], 'ingest_ns', ingest_ns, 'meta', ARGV[i + 1])
  end
end
return {'committed', commits}
