-- Forget a flow that has ended.
--
-- KEYS[1]    flow
-- KEYS[2..]  every other key of the flow
-- RETURNS    1 when it is gone, 0 when it is running or leaving
-- WHY        What is still at work would write some of the keys again.
local status = redis.call('HGET', KEYS[1], 'status')
if status == 'running' or status == 'leaving' then
  return 0
end
for i = 1, #KEYS do
  redis.call('DEL', KEYS[i])
end
return 1
