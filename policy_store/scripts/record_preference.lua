-- NEEDS: counting, voting
-- A user compared both answers: the preference is a comparison at once.
-- KEYS: control, counts, forecasts, log, events, unit, votes
-- ARGV: generation, fingerprint of the feedback, seconds to remember the unit, first, second, source,
--       voter, API key, voter cap, largest share of a key, result
local keys = {counts = KEYS[2], forecasts = KEYS[3], log = KEYS[4], events = KEYS[5]}
local generation, fingerprint, keep_seconds, first, second, source = unpack(ARGV, 1, 6)
local vote, result = vote_of(ARGV, 7), ARGV[11]

local refused, threshold = refusal(KEYS[1], KEYS[6], generation, fingerprint, second)
if refused then
  return refused
end
refused = over_cap(KEYS[7], first .. ':' .. second, vote)
if refused then
  return refused
end
redis.call('SET', KEYS[6], fingerprint, 'EX', keep_seconds)
note_voters(KEYS[7], KEYS[2], {vote.voter})
return count(keys, generation, threshold, first, second, result, source, vote.voter)
