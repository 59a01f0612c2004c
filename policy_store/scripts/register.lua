-- Makes the generation of a fingerprint the current one, starting it if it is new.
-- KEYS: control, events, log of the generation the caller expects
-- ARGV: fingerprint, expected generation, experiment, policies, incumbent, elimination threshold
local control = KEYS[1]
local fingerprint, expected, experiment, policies, incumbent, threshold = unpack(ARGV)
local known = redis.call('HGET', control, 'fingerprint:' .. fingerprint)
local generation = known or text((redis.call('HGET', control, 'generations') or 0) + 1)
if generation ~= expected then
  return {'raced', generation}
end

local at = micros()
if not known then
  local of = generation .. ':'
  redis.call('HSET', control, 'generations', generation, 'fingerprint:' .. fingerprint, generation,
    of .. 'experiment', experiment, of .. 'state', 'running', of .. 'incumbent', incumbent,
    of .. 'policies', policies, of .. 'threshold', threshold, of .. 'started_at', at)
end
if redis.call('HGET', control, 'generation') ~= generation then
  redis.call('HSET', control, 'generation', generation)
  redis.call('HINCRBY', control, 'revision', 1)
  append_event(KEYS[3], KEYS[2], at, known and 'reactivated' or 'started', '{"generation":' .. generation .. '}')
end
return view(control)
