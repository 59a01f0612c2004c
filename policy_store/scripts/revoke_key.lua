-- NEEDS: clock
-- Ends an API key for good, wherever it was made; its name is free again.
-- KEYS: records, names, revoked, revision
-- ARGV: hash, name
local hash, name = unpack(ARGV)
if redis.call('HSETNX', KEYS[3], hash, micros()) == 1 then
  redis.call('INCR', KEYS[4])
end
if redis.call('HGET', KEYS[2], name) == hash then
  redis.call('HDEL', KEYS[2], name)
end
return {'ok', redis.call('HGET', KEYS[3], hash)}
