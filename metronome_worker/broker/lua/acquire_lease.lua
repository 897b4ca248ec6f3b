-- Take a lease that nobody holds, under a new epoch.
--
-- KEYS[1]  lease
-- KEYS[2]  epoch
-- ARGV[1]  holder: random for each contender, never a host name
-- ARGV[2]  ttl_ms
-- RETURNS  {epoch, 0} when it is ours, {0, ms} when another holds it for at most ms more
-- WHY      The epoch only ever grows, so that a writer under an older one can be told from its successor.
--          When the same holder asks again, the reply to its first call was lost: it gets what it has.
local held = redis.call('GET', KEYS[1])
if held then
  local epoch, holder = string.match(held, '^(%d+) (.*)$')
  if holder == ARGV[1] then
    redis.call('PEXPIRE', KEYS[1], ARGV[2])
    return {tonumber(epoch), 0}
  end
  local left = redis.call('PTTL', KEYS[1])
  if left < 0 then
    -- A lease without an end would outlive its holder for ever; somebody has set it by hand.
    redis.call('PEXPIRE', KEYS[1], ARGV[2])
    left = tonumber(ARGV[2])
  end
  return {0, left}
end
local epoch = redis.call('INCR', KEYS[2])
redis.call('SET', KEYS[1], epoch .. ' ' .. ARGV[1], 'PX', ARGV[2])
return {epoch, 0}
