-- Hold a lease for another term.
--
-- KEYS[1]  lease
-- ARGV[1]  value: "<epoch> <holder>"
-- ARGV[2]  ttl_ms
-- RETURNS  1 when it is still ours, else 0
-- WHY      A lease that has lapsed is not revived: another may have held it meanwhile.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
