-- The same field of several hashes; '' where it is missing.
-- KEYS: the hashes
-- ARGV: field
local found = {'ok'}
for index, key in ipairs(KEYS) do
  found[index + 1] = redis.call('HGET', key, ARGV[1]) or ''
end
return found
