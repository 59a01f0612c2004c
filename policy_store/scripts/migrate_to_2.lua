-- NEEDS: moving, waiting, clock
-- Brings a generation to layout 2: what earlier versions left to be worked out is written down.
-- KEYS: control, queues of the generation's waiting outcomes
-- ARGV: generation
local control, of = KEYS[1], ARGV[1] .. ':'
local known = redis.call('HMGET', control, of .. 'state', of .. 'previous', of .. 'certificate')
if CHAMPION_STATES[known[1]] and not known[2] and known[3] then
  redis.call('HSET', control, of .. 'previous', previous_of(control, of))
end
local at = micros()
for index = 2, #KEYS do
  if redis.call('EXISTS', KEYS[index]) == 1 then
    local left = redis.call('PTTL', KEYS[index])
    add_times(KEYS[index], at)
    if left > 0 then
      redis.call('PEXPIRE', KEYS[index], text(left))
    end
  end
end
return {'ok'}
