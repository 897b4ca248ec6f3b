-- Let the sources of a paused flow go on.
--
-- KEYS[1]    flow
-- KEYS[2..]  schedule: of each ticked source
-- ARGV[1]    channel to announce it on
-- RETURNS    1 when it goes on, 0 when it was not paused
-- WHY        Ticks that came due while it was paused were not missed: they are skipped, and counted, whatever the
--            policy for missed ticks says.
if not redis.call('HGET', KEYS[1], 'paused') then
  return 0
end
local time = redis.call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
for i = 2, #KEYS do
  local schedule = redis.call('HMGET', KEYS[i], 'next', 'settings')
  local next_ms = tonumber(schedule[1])
  local is_whole, settings = pcall(cjson.decode, schedule[2] or '')
  -- A schedule that somebody has damaged is the ticker's to tell of; the others go on.
  if next_ms and next_ms <= now_ms and is_whole then
    local interval = settings.interval
    local slots = math.floor((now_ms - next_ms) / interval) + 1
    redis.call('HSET', KEYS[i], 'next', string.format('%.0f', next_ms + slots * interval))
    redis.call('HINCRBY', KEYS[i], 'skipped', slots)
    redis.call('HINCRBY', KEYS[i], 'gap', slots)
    -- So that these can be told from ticks that were given up too soon.
    redis.call('HINCRBY', KEYS[i], 'paused', slots)
  end
end
redis.call('HDEL', KEYS[1], 'paused')
redis.call('PUBLISH', ARGV[1], 'resumed')
return 1
