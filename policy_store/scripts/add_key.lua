-- Adds an API key. A key that exists already changes nothing.
-- KEYS: records, names, revoked, revision
-- ARGV: hash, name, record
local hash, name, record = unpack(ARGV)
if redis.call('HEXISTS', KEYS[1], hash) == 1 then
  return {'ok'}
end
if redis.call('HSETNX', KEYS[2], name, hash) == 0 then
  return {'name_taken'}
end
redis.call('HSET', KEYS[1], hash, record)
redis.call('INCR', KEYS[4])
return {'ok'}
