-- What changes when there is something to plan, for each of several experiments.
-- KEYS: for each control, lease, and counts, waiting and held of a generation
local found = {'ok'}
for at = 1, #KEYS, 5 do
  found[#found + 1] = {
    redis.call('HGET', KEYS[at], 'revision') or '',
    redis.call('GET', KEYS[at + 1]) or '',
    redis.call('HGET', KEYS[at + 2], 'comparisons') or '0',
    table.concat(redis.call('HVALS', KEYS[at + 3]), ' '),
    tostring(redis.call('ZCARD', KEYS[at + 4])),
  }
end
return found
