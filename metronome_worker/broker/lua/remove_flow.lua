-- Forget a flow that has ended, but for its last numbers and its code.
--
-- KEYS[1]    flow
-- KEYS[2]    epoch
-- KEYS[3..]  every other key of the flow
-- RETURNS    1 when it is gone, 0 when it is running or leaving
-- WHY        What is still at work would write some of the keys again.  A process that was stopped in a run that is
--            forgotten must find every write refused, also when a flow of this name is deployed again: so that one goes
--            on counting where this one has ended.  And it must leave with the code that all others have left with.
local flow = redis.call('HMGET', KEYS[1], 'status', 'run', 'code', 'last_run', 'last_epoch', 'last_code')
if flow[1] == 'running' or flow[1] == 'leaving' then
  return 0
end

local function highest(one, other)
  -- Of two counters; what is no number, as somebody has changed it by hand, does not count.
  local found = 0
  for _, text in ipairs({one or '', other or ''}) do
    local number = type(text) == 'string' and #text <= 15 and string.match(text, '^%d+$')
    found = math.max(found, tonumber(number or 0))
  end
  return string.format('%.0f', found)
end

local last_run, last_epoch = highest(flow[2], flow[4]), highest(redis.pcall('GET', KEYS[2]), flow[5])
for i = 1, #KEYS do
  redis.call('DEL', KEYS[i])
end
redis.call('HSET', KEYS[1], 'last_run', last_run, 'last_epoch', last_epoch, 'last_code', flow[3] or flow[6] or '0')
return 1
