-- NEEDS: clock
-- Whether the store takes writes, and which store it is: does once, on keys of its own, whatever the other
-- scripts do to theirs, and notes when.
-- KEYS: identity; then text, hash, list, stream, set and ranked set to try on
-- ARGV: id of a new store, if one may begin here; else ''
local identity, word, hash, list, stream, set, ranked = unpack(KEYS)
local fresh = ARGV[1]

redis.call('SET', word, '0', 'EX', 60)
redis.call('DEL', word)
redis.call('INCR', word)
redis.call('EXPIRE', word, 60)
redis.call('HSETNX', hash, 'a', '0')
redis.call('HINCRBY', hash, 'b', 1)
redis.call('HDEL', hash, 'a')
redis.call('RPUSH', list, 'a', 'b')
redis.call('LREM', list, -1, 'b')
redis.call('LPOP', list)
redis.call('XADD', stream, 'MAXLEN', 1, '*', 'a', 'b')
redis.call('SADD', set, 'a')
redis.call('ZADD', ranked, 1, 'a', 2, 'b')
redis.call('ZREM', ranked, 'b')
for _, key in ipairs({hash, stream, set, ranked}) do
  redis.call('PEXPIRE', key, 60000)
end

local found = redis.call('HMGET', identity, 'id', 'epoch', 'written_at', 'held')
if not found[1] and fresh ~= '' then
  redis.call('HSET', identity, 'id', fresh, 'epoch', '1')
  found[1], found[2] = fresh, '1'
end
if found[1] then
  redis.call('HSET', identity, 'written_at', micros())
end
return {'ok', found[1] or '', found[2] or '0', found[3] or '0', found[4] or ''}
