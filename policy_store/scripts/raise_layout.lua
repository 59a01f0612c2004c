-- Says the store's layout, unless it says a later one.
-- KEYS: identity
-- ARGV: layout
if tonumber(redis.call('HGET', KEYS[1], 'layout') or '1') < tonumber(ARGV[1]) then
  redis.call('HSET', KEYS[1], 'layout', ARGV[1])
end
return {'ok'}
