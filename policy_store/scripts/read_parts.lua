-- NEEDS: numbers, clock
-- One consistent read of several keys. Of a stream only the last entry's id and the length are read, because what is
-- before that id never changes.
-- KEYS: the keys to read; the first is an experiment's control if ARGV[1] is given
-- ARGV: highest number of a generation that the caller named keys of ('' for no check)
local highest = ARGV[1] ~= '' and (redis.call('HGET', KEYS[1], 'generations') or '0')
if highest and highest ~= ARGV[1] then
  return {'raced', highest}
end

local READ = {
  string = function(key) return {redis.call('GET', key)} end,
  hash = function(key) return redis.call('HGETALL', key) end,
  list = function(key) return redis.call('LRANGE', key, 0, -1) end,
  zset = function(key) return redis.call('ZRANGE', key, 0, -1, 'WITHSCORES') end,
  stream = function(key)
    local last = redis.call('XREVRANGE', key, '+', '-', 'COUNT', 1)[1]
    return {last and last[1] or '0-0', text(redis.call('XLEN', key))}
  end,
}
local at, parts = micros(), {}
for index, key in ipairs(KEYS) do
  local kind, left = redis.call('TYPE', key).ok, redis.call('PTTL', key)
  if READ[kind] then
    parts[index] = {kind, left < 0 and '' or text(math.floor(at / 1000) + left), READ[kind](key)}
  else
    parts[index] = {'none', '', {}}
  end
end
return {'ok', at, parts}
