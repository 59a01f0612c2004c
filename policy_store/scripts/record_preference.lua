-- NEEDS: counting
-- A user compared both answers: the preference is a comparison at once.
-- KEYS: control, counts, forecasts, log, events, unit
-- ARGV: generation, fingerprint of the feedback, seconds to remember the unit, first, second, source, result
local keys = {counts = KEYS[2], forecasts = KEYS[3], log = KEYS[4], events = KEYS[5]}
local generation, fingerprint, keep_seconds, first, second, source, result = unpack(ARGV)

local refused, threshold = refusal(KEYS[1], KEYS[6], generation, fingerprint, second)
if refused then
  return refused
end
-- First of all writes: a server out of memory refuses the first one, and with it all the others.
redis.call('SET', KEYS[6], fingerprint, 'EX', keep_seconds)
return count(keys, generation, threshold, first, second, result, source)
