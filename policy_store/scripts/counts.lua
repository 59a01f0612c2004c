-- One consistent read of everything counted in a generation, with the time it was read.
-- KEYS: control, counts
-- ARGV: generation
local about = redis.call('HMGET', KEYS[1], ARGV[1] .. ':policies', ARGV[1] .. ':started_at')
if not about[1] then
  return {'unknown'}
end
return {'ok', about[1], about[2], micros(), redis.call('HGETALL', KEYS[2])}
