-- NEEDS: clock, trial
-- Whether the store takes writes, and which store it is, and notes when it did.
-- KEYS: identity; then text, hash, list, stream, set and ranked set to try on
-- ARGV: id of a new store, if one may begin here; else ''
local identity, fresh = KEYS[1], ARGV[1]
try_to_write({unpack(KEYS, 2)})

local found = redis.call('HMGET', identity, 'id', 'epoch', 'written_at', 'held')
if not found[1] and fresh ~= '' then
  redis.call('HSET', identity, 'id', fresh, 'epoch', '1')
  found[1], found[2] = fresh, '1'
end
if found[1] then
  redis.call('HSET', identity, 'written_at', micros())
end
return {'ok', found[1] or '', found[2] or '0', found[3] or '0', found[4] or ''}
