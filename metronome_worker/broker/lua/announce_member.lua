-- Say that a process is alive, forget those that have not said so for long, and hear who is.
--
-- KEYS[1]  members
-- ARGV[1]  member: a name that is random for each process
-- ARGV[2]  card: what people may want to know of it (JSON); empty to say goodbye
-- ARGV[3]  ttl_ms: how long a member counts as alive after it was last heard of
-- RETURNS  {member, card, member, card, ...} of all that are alive
-- WHY      The server's clock decides who is alive, so that every process sees the same members.
local time = redis.call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
if ARGV[2] == '' then
  redis.call('HDEL', KEYS[1], ARGV[1])
else
  redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f', now_ms) .. ' ' .. ARGV[2])
end
local alive = {}
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  local seen, card = string.match(all[i + 1], '^(%d+) (.*)$')
  -- One of the future was written by hand, or before the clock was set back: it would stay for ever.
  if seen and math.abs(now_ms - tonumber(seen)) <= tonumber(ARGV[3]) then
    alive[#alive + 1] = all[i]
    alive[#alive + 1] = card
  else
    redis.call('HDEL', KEYS[1], all[i])
  end
end
return alive
