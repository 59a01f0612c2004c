-- NEEDS: clock, PLANNED_STATES
-- Adds to how often policies were asked and how often they failed, while plans are made for the current generation.
-- KEYS: control
-- ARGV: fingerprint of the experiment; then for each policy its index, how often it was asked, how often it failed
local control = KEYS[1]
local generation = redis.call('HGET', control, 'generation')
if not generation then
  return {'unknown'}
end
local of = generation .. ':'
local is_current = redis.call('HGET', control, 'fingerprint:' .. ARGV[1]) == generation
if not is_current or not PLANNED_STATES[redis.call('HGET', control, of .. 'state')] then
  return {'ok'}
end
redis.call('HSETNX', control, of .. 'tried_since', micros())
for position = 2, #ARGV, 3 do
  redis.call('HINCRBY', control, of .. 'asked:' .. ARGV[position], ARGV[position + 1])
  redis.call('HINCRBY', control, of .. 'failed:' .. ARGV[position], ARGV[position + 2])
end
return {'ok'}
