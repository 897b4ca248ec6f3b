-- Remove a consumer that goes, or consumers that are long gone, from the group of a shared stage.
--
-- KEYS[1]  events
-- ARGV[1]  group
-- ARGV[2]  consumer that goes; empty: all that were idle for idle_ms
-- ARGV[3]  idle_ms
-- RETURNS  how many were removed
-- WHY      Removing a consumer forgets what is pending with it: nobody would ever work on that.  So only one that has
--          nothing in hand is removed; what others leave is taken over first.
local consumers = redis.pcall('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])
local removed = 0
for _, info in ipairs(consumers.err and {} or consumers) do
  local named = {}
  for i = 1, #info, 2 do
    named[info[i]] = info[i + 1]
  end
  local goes = named.name == ARGV[2] or (ARGV[2] == '' and named.idle >= tonumber(ARGV[3]))
  if goes and named.pending == 0 then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], named.name)
    removed = removed + 1
  end
end
return removed
