-- Stop the sources of a flow for the time being; everything else goes on.
--
-- KEYS[1]  flow
-- RETURNS  1 when it is paused now, 0 when it is not running
-- WHY      Nothing is lost: what is published is worked on, and the schedules know where they stopped.
if redis.call('HGET', KEYS[1], 'status') ~= 'running' then
  return 0
end
redis.call('HSET', KEYS[1], 'paused', 1)
return 1
