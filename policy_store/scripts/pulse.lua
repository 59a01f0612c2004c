-- NEEDS: clock, trial
-- Tests whether the store accepts writes, notes the time, and returns the identity of the store. The time that is
-- noted never becomes smaller: a clock that was set back, or that of a server that took over, is no older store.
-- KEYS: identity; then a text, hash, list, stream, set and ranked set for the test
-- ARGV: id for a new store, if one may begin here; otherwise ''; the layout that a new store has
local identity, fresh = KEYS[1], ARGV[1]
try_to_write({unpack(KEYS, 2)})

local found = redis.call('HMGET', identity, 'id', 'epoch', 'written_at', 'held', 'layout')
if not found[1] and fresh ~= '' then
  redis.call('HSET', identity, 'id', fresh, 'epoch', '1', 'layout', ARGV[2])
  found[1], found[2], found[5] = fresh, '1', ARGV[2]
end
local now = micros()
if found[1] and tonumber(now) > tonumber(found[3] or '0') then
  redis.call('HSET', identity, 'written_at', now)
end
return {'ok', found[1] or '', found[2] or '0', found[3] or '0', found[4] or '', found[5] or '1'}
