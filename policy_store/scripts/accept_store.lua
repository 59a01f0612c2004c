-- NEEDS: numbers, clock
-- An operator accepts the store as it is: a new epoch begins, from which every replica learns of this.
-- KEYS: identity
-- ARGV: id, if the store has none; highest epoch the caller saw; who accepts
local identity, fresh, seen, by = KEYS[1], unpack(ARGV)
redis.call('HSETNX', identity, 'id', fresh)
local known = redis.call('HMGET', identity, 'epoch', 'seen_epoch')
local epoch = math.max(tonumber(known[1] or '0'), tonumber(known[2] or '0'), tonumber(seen)) + 1
redis.call('HSET', identity, 'epoch', text(epoch), 'accepted_by', by, 'accepted_at', micros())
redis.call('HDEL', identity, 'held')
return {'ok', text(epoch)}
