-- Take over one entry of a shared stage that somebody was given and has not finished.
--
-- KEYS[1]  events
-- ARGV[1]  group
-- ARGV[2]  consumer
-- ARGV[3]  idle_ms: how long nobody must have touched it
-- ARGV[4]  cursor: where to look on, "0-0" at first
-- RETURNS  {cursor, ID, fields, deliveries}, or {cursor} when there was none; cursor is "0-0" at the end; deliveries is
--          how often the entry was given to somebody, this time included
-- WHY      One at a time, and counted before anybody reads what it holds: an entry that kills whoever works on it is
--          found by its count, and takes no other entry with it.
-- One call looks at ten entries: so many that what a few busy workers have in hand is looked through at once.
local MOST_CALLS = 1000
local cursor, entry = ARGV[4], nil
for _ = 1, MOST_CALLS do
  local claimed = redis.call('XAUTOCLAIM', KEYS[1], ARGV[1], ARGV[2], ARGV[3], cursor, 'COUNT', '1')
  cursor, entry = claimed[1], claimed[2][1]
  if entry or cursor == '0-0' then
    break
  end
end
if not entry then
  return {cursor}
end
local pending = redis.call('XPENDING', KEYS[1], ARGV[1], entry[1], entry[1], '1')
return {cursor, entry[1], entry[2], pending[1][4]}
