-- Take back that an attempt at a batch counts as a death: whoever made it has failed, but lives.
--
-- KEYS[1]  state: of the stage
-- ARGV[1]  attempt: what was noted before the batch was begun, "<input> <ID>"
-- RETURNS  1 when it was taken back, else 0
-- WHY      What counts deaths must not count a slow disk or a lost lease.  No lease is asked for, as it may be just
--          that which was lost; the count decides nothing but how carefully the next owner begins.
local state = redis.call('HMGET', KEYS[1], 'attempt', 'deaths')
if state[1] ~= ARGV[1] or tonumber(state[2] or 0) < 1 then
  return 0
end
redis.call('HINCRBY', KEYS[1], 'deaths', -1)
return 1
