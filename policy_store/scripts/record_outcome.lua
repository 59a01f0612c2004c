-- NEEDS: counting, reports
-- Compares the outcome of one policy of a pair with the newest waiting outcome of the other policy, or lets it
-- wait for one.
-- KEYS: control, counts, forecasts, log, events, unit, votes, waiting, queue of side 0, queue of side 1
-- ARGV: the report, see shared/reports.lua
local keys = {control = KEYS[1], counts = KEYS[2], forecasts = KEYS[3], log = KEYS[4], events = KEYS[5],
  votes = KEYS[7], waiting = KEYS[8], queues = {KEYS[9], KEYS[10]}}

local refused, threshold = refusal(KEYS[1], KEYS[6], ARGV[1], ARGV[2], ARGV[5], ARGV[11])
if refused then
  return refused
end
refused = over_cap(keys.votes, pair_of(ARGV), vote_of(ARGV, 7))
if refused then
  return refused
end
redis.call('SET', KEYS[6], ARGV[2], 'EX', ARGV[3])
return match_outcome(keys, threshold, ARGV)
