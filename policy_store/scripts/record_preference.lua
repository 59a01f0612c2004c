-- NEEDS: counting, reports
-- Counts the preference of a user who saw both answers as a comparison at once.
-- KEYS: control, counts, forecasts, log, events, unit, votes, segments
-- ARGV: how the coin fell ('' if not known); then the report, see shared/reports.lua
local keys = {control = KEYS[1], counts = KEYS[2], forecasts = KEYS[3], log = KEYS[4], events = KEYS[5],
  votes = KEYS[7], segments = KEYS[8]}
local said = {unpack(ARGV, 2)}

local refused, threshold = refusal(KEYS[1], KEYS[6], said[1], said[2], said[5], said[11], keys.counts)
if refused then
  return refused
end
refused = over_cap(keys.votes, keys.counts, pair_of(said), vote_of(said, 7))
if refused then
  return refused
end
redis.call('SET', KEYS[6], said[2], 'EX', said[3])
note_side(keys.counts, pair_of(said), ARGV[1])
return count_preference(keys, threshold, said)
