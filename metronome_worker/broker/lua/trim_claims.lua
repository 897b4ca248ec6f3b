-- Remove what a shared stage has done and nobody needs to look at any more.
--
-- KEYS[1]  state: of the stage
-- KEYS[2]  events
-- ARGV[1]  group
-- ARGV[2]  input: the name of the stream in the state
-- ARGV[3]  keep: how many entries that are done stay at the most
-- ARGV[4]  keep_ms: how long they stay at the most
-- RETURNS  how many entries were removed
-- WHY      As trim_stream, but without an owner: between the first entry that is not done and the last that was given
--          out lie entries that are done, which must be counted before it is known how many may go.  It looks at what
--          is true in Redis only, so whoever runs it, and how often, does no harm.
local LIMIT = 1000000
local MOST_COUNTED = 10000
if redis.call('EXISTS', KEYS[2]) == 0 then
  return 0
end
local done = redis.call('HGET', KEYS[1], 'read:' .. ARGV[2])
local groups, ours = redis.pcall('XINFO', 'GROUPS', KEYS[2]), nil
for _, info in ipairs(groups.err and {} or groups) do
  local named = {}
  for i = 1, #info, 2 do
    named[info[i]] = info[i + 1]
  end
  if named.name == ARGV[1] then
    ours = named
  end
end
if not done or not ours then
  return 0
end
local added = 0
local info = redis.call('XINFO', 'STREAM', KEYS[2])
for i = 1, #info, 2 do
  if info[i] == 'entries-added' then added = info[i + 1] end
end
local first_open, mixed = nil, 0
if ours.pending > 0 then
  first_open = redis.call('XPENDING', KEYS[2], ARGV[1])[2]
  mixed = #redis.call('XRANGE', KEYS[2], first_open, ours['last-delivered-id'], 'COUNT', MOST_COUNTED)
  if mixed == MOST_COUNTED then
    return 0
  end
end
local waiting = math.max(0, added - tonumber(done) - ours.pending)
local removed = redis.call('XTRIM', KEYS[2], 'MAXLEN', '~', string.format('%.0f', waiting + mixed + tonumber(ARGV[3])),
  'LIMIT', LIMIT)
local time = redis.call('TIME')
local oldest = tonumber(time[1]) * 1000 - tonumber(ARGV[4])
local settled = tonumber(string.match(first_open or ours['last-delivered-id'], '^%d+'))
removed = removed + redis.call('XTRIM', KEYS[2], 'MINID', '~',
  string.format('%.0f', math.max(0, math.min(oldest, settled))), 'LIMIT', LIMIT)
return removed
