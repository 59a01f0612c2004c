-- NEEDS: numbers
-- Tells all replicas that the store lost something: they hold decisions and feedback until an operator accepts it.
-- KEYS: identity
-- ARGV: why, highest epoch the caller saw
if tonumber(redis.call('HGET', KEYS[1], 'epoch') or '0') > tonumber(ARGV[2]) then
  return {'ok'} -- an operator accepted the store after the caller looked
end
redis.call('HSETNX', KEYS[1], 'held', ARGV[1])
local seen = tonumber(redis.call('HGET', KEYS[1], 'seen_epoch') or '0')
redis.call('HSET', KEYS[1], 'seen_epoch', text(math.max(seen, tonumber(ARGV[2]))))
return {'ok'}
