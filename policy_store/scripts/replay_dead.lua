-- NEEDS: numbers, clock
-- Makes all dead letters, or the named ones, due like new messages, also if the receiver was gone.
-- KEYS: control, due, messages, dead
-- ARGV: ids; none for all
local control, due, messages, dead = unpack(KEYS)
local ids = #ARGV > 0 and ARGV or redis.call('ZRANGE', dead, 0, -1)
local at, moved = micros(), 0
redis.call('HDEL', control, 'gone')
for _, id in ipairs(ids) do
  if redis.call('ZREM', dead, id) == 1 then
    redis.call('ZADD', due, at, id)
    redis.call('HSET', messages, id .. ':attempts', '0')
    moved = moved + 1
  end
end
return {'ok', text(moved)}
