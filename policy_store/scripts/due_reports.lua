-- NEEDS: clock
-- The first reports whose hold is over, in the order in which they count.
-- KEYS: held
-- ARGV: how many at most
return {'ok', redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', micros(), 'LIMIT', 0, ARGV[1])}
