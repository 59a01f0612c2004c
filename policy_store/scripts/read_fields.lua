-- Some fields of a hash and the id of a stream's last entry, at one moment; '0' where a field is missing.
-- KEYS: the hash, the stream
-- ARGV: the fields
local last = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)[1]
local found = {'ok', last and last[1] or '0-0'}
for index, field in ipairs(ARGV) do
  found[index + 2] = redis.call('HGET', KEYS[1], field) or '0'
end
return found
