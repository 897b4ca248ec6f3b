-- Stop all sources of a flow, and record where each of its event streams ends.
--
-- KEYS[1]   lease: of the ticker
-- KEYS[2]   flow
-- KEYS[3]   exit
-- KEYS[4..] events: of every input
-- ARGV[1]   value of the lease: "<epoch> <holder>"
-- ARGV[2]   run: "<run>.<revision>"
-- ARGV[3]   code that the flow will end with
-- ARGV[4..] names of the inputs, in the order of KEYS
-- RETURNS   {outcome, barrier}; outcome is "written", "fenced" or "stopped"; barrier is JSON, input to last ID
-- WHY       From here on no event is published, so what the stages must still do is known and finite.  Once written it
--           stays: a second call returns the first barrier, and writes it again where somebody has taken it out of the
--           exit stream, as nobody could go on without.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return {'fenced'}
end
local flow = redis.call('HMGET', KEYS[2], 'run', 'revision', 'status', 'barrier', 'code', 'exit_from')
if (flow[1] or '') .. '.' .. (flow[2] or '') ~= ARGV[2] then
  return {'stopped'}
end

local function is_told()
  -- Whether the barrier stands in the exit stream, behind where the run began.
  local start = '(' .. (string.match(flow[6] or '', '^%d+%-%d+$') or '0-0')
  while true do
    local page = redis.call('XRANGE', KEYS[3], start, '+', 'COUNT', 1000)
    for _, entry in ipairs(page) do
      local fields = {}
      for i = 1, #entry[2], 2 do
        fields[entry[2][i]] = entry[2][i + 1]
      end
      if fields.barrier == flow[4] and fields.epoch then
        return true
      end
    end
    if #page < 1000 then
      return false
    end
    start = '(' .. page[#page][1]
  end
end

local function tell(barrier, code)
  redis.call('XADD', KEYS[3], '*', 'barrier', barrier, 'code', code, 'epoch', string.match(ARGV[1], '^%d+'))
end

if flow[3] == 'leaving' then
  if flow[4] and not is_told() then
    tell(flow[4], flow[5] or ARGV[3])
  end
  return {'written', flow[4]}
end
if flow[3] ~= 'running' then
  return {'stopped'}
end
local parts = {}
for i = 4, #KEYS do
  local last = '0-0'
  local is_there = redis.call('EXISTS', KEYS[i]) == 1
  if is_there then
    local info = redis.call('XINFO', 'STREAM', KEYS[i])
    for j = 1, #info, 2 do
      if info[j] == 'last-generated-id' then last = info[j + 1] end
    end
  end
  -- Most flows never have anything put back: what is not there need not be told.
  if is_there or not string.find(ARGV[i], '^replay:') then
    parts[#parts + 1] = cjson.encode(ARGV[i]) .. ':"' .. last .. '"'
  end
end
local barrier = '{' .. table.concat(parts, ',') .. '}'
redis.call('HSET', KEYS[2], 'status', 'leaving', 'barrier', barrier, 'code', ARGV[3])
tell(barrier, ARGV[3])
return {'written', barrier}
