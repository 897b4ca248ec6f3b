-- Give a lease back and tell those who wait for it.
--
-- KEYS[1]  lease
-- ARGV[1]  value: "<epoch> <holder>"
-- ARGV[2]  channel to announce it on
-- ARGV[3]  name of the lease, as announced
-- RETURNS  1 when it was ours, else 0
-- WHY      The announcement lets a standby take over in milliseconds instead of after the rest of the TTL.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
redis.call('DEL', KEYS[1])
redis.call('PUBLISH', ARGV[2], ARGV[3])
return 1
