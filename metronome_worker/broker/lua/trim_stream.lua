-- Remove what a stage has committed and nobody needs to look at any more.
--
-- KEYS[1]  lease: of the stage
-- KEYS[2]  state: of the stage
-- KEYS[3]  events
-- ARGV[1]  value of the lease: "<epoch> <holder>"
-- ARGV[2]  source: the name of the stream in the state
-- ARGV[3]  keep: how many committed entries stay at the most
-- ARGV[4]  keep_ms: how long committed entries stay at the most
-- RETURNS  how many entries were removed, -1 when another owns the stage
-- WHY      Never by length alone: what is not committed is not removed, however much that is.
-- Without a limit of ours at most 10 000 entries go at a time, and a busy stream would outgrow that.
local LIMIT = 1000000
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return -1
end
if redis.call('EXISTS', KEYS[3]) == 0 then
  return 0
end
local state = redis.call('HMGET', KEYS[2], 'events:' .. ARGV[2], 'read:' .. ARGV[2])
if not state[1] or not state[2] then
  return 0
end
-- What was left open when the stage was shared stands before the position, and is not done.
if redis.call('HEXISTS', KEYS[2], 'open:' .. ARGV[2]) == 1 then
  return 0
end
local added, last = 0, '0-0'
local info = redis.call('XINFO', 'STREAM', KEYS[3])
for i = 1, #info, 2 do
  if info[i] == 'entries-added' then added = info[i + 1] end
  if info[i] == 'last-generated-id' then last = info[i + 1] end
end
-- A stream that ends before the position was made anew: nothing of it is done, and its owner has yet to see that.
local function parts(id)
  local ms, sequence = string.match(id, '^(%d+)-(%d+)$')
  return tonumber(ms), tonumber(sequence)
end
local last_ms, last_sequence = parts(last)
local ms, sequence = parts(state[1])
if not ms or last_ms < ms or (last_ms == ms and last_sequence < sequence) then
  return 0
end
local removed = 0
-- A stream that was deleted and made anew counts from 0 again: how many wait is not known then.
if added >= tonumber(state[2]) then
  local most = added - tonumber(state[2]) + tonumber(ARGV[3])
  removed = redis.call('XTRIM', KEYS[3], 'MAXLEN', '~', string.format('%.0f', most), 'LIMIT', LIMIT)
end
local time = redis.call('TIME')
local oldest = tonumber(time[1]) * 1000 - tonumber(ARGV[4])
removed = removed + redis.call('XTRIM', KEYS[3], 'MINID', '~',
  string.format('%.0f', math.max(0, math.min(oldest, ms))), 'LIMIT', LIMIT)
return removed
