-- NEEDS: counting, reports
-- Counts the preference of a user who saw both answers as a comparison at once.
-- KEYS: control, counts, forecasts, log, events, unit, votes
-- ARGV: the report, see shared/reports.lua
local keys = {control = KEYS[1], counts = KEYS[2], forecasts = KEYS[3], log = KEYS[4], events = KEYS[5],
  votes = KEYS[7]}

local refused, threshold = refusal(KEYS[1], KEYS[6], ARGV[1], ARGV[2], ARGV[5], ARGV[11])
if refused then
  return refused
end
refused = over_cap(keys.votes, pair_of(ARGV), vote_of(ARGV, 7))
if refused then
  return refused
end
redis.call('SET', KEYS[6], ARGV[2], 'EX', ARGV[3])
return count_preference(keys, threshold, ARGV)
