-- End a run: from here on nothing of it is committed, and every process of it leaves with the code.
--
-- KEYS[1]  lease: of the ticker
-- KEYS[2]  flow
-- KEYS[3]  exit
-- ARGV[1]  value of the lease: "<epoch> <holder>"
-- ARGV[2]  run: "<run>.<revision>"
-- ARGV[3]  reason: "drained", "deadline" or "abrupt"
-- RETURNS  {outcome, code}; outcome is "written", "fenced" or "stopped"
-- WHY      The code is that of the barrier, so that it is one for all; a second call returns the first end, and writes
--          it again where somebody has taken it out of the exit stream, as nobody would leave.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return {'fenced'}
end
local flow = redis.call('HMGET', KEYS[2], 'run', 'revision', 'status', 'code', 'exit_from')
if (flow[1] or '') .. '.' .. (flow[2] or '') ~= ARGV[2] then
  return {'stopped'}
end

local function is_told()
  -- Whether the end stands in the exit stream, behind where the run began: it is the last that is written there.
  local start = '(' .. (string.match(flow[5] or '', '^%d+%-%d+$') or '0-0')
  for _, entry in ipairs(redis.call('XREVRANGE', KEYS[3], '+', start, 'COUNT', 1000)) do
    local fields = {}
    for i = 1, #entry[2], 2 do
      fields[entry[2][i]] = entry[2][i + 1]
    end
    if fields['end'] and fields.epoch then
      return true
    end
  end
  return false
end

local function tell()
  redis.call('XADD', KEYS[3], '*', 'end', flow[4], 'reason', ARGV[3], 'epoch', string.match(ARGV[1], '^%d+'))
end

if flow[3] == 'ended' then
  if flow[4] and not is_told() then
    tell()
  end
  return {'written', flow[4]}
end
if flow[3] ~= 'leaving' then
  return {'stopped'}
end
local time = redis.call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
redis.call('HSET', KEYS[2], 'status', 'ended', 'ended_at', string.format('%.0f', now_ms))
tell()
return {'written', flow[4]}
