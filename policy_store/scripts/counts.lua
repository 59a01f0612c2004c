-- NEEDS: clock, trials
-- One consistent read of everything counted in a generation, with the time it was read.
-- KEYS: control, counts, waiting, held
-- ARGV: generation
local of = ARGV[1] .. ':'
local about = redis.call('HMGET', KEYS[1], of .. 'policies', of .. 'started_at', of .. 'policies_ever',
  of .. 'inherited', of .. 'inherited_from')
if not about[1] then
  return {'unknown'}
end
local reply = {'ok', about[1], about[2], micros(), redis.call('HGETALL', KEYS[2]), about[3], about[4], about[5],
  redis.call('HGETALL', KEYS[3]), redis.call('ZCARD', KEYS[4])}
local since = redis.call('HGET', KEYS[1], of .. 'tried_since')
if since then
  reply[#reply + 1] = since
  reply[#reply + 1] = redis.call('HMGET', KEYS[1], unpack(trial_fields(of, about[1])))
end
return reply
