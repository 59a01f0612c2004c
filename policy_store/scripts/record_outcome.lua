-- NEEDS: counting, correcting, reports
-- Compares the outcome of one policy of a pair with the newest waiting outcome of the other policy, or lets it
-- wait for one. While it waits, a later word may take its place.
-- KEYS: control, counts, forecasts, log, events, unit, votes, segments, waiting, queue of side 0, queue of side 1
-- ARGV: how it stands to an earlier report of the unit ('first' or 'replace'), idempotency key, how the coin fell
--       ('' if not known); then the report, see shared/reports.lua
local keys = {control = KEYS[1], counts = KEYS[2], forecasts = KEYS[3], log = KEYS[4], events = KEYS[5],
  votes = KEYS[7], segments = KEYS[8], waiting = KEYS[9], queues = {KEYS[10], KEYS[11]}}
local standing, idempotency, drawn = unpack(ARGV, 1, 3)
local said = {unpack(ARGV, 4)}

local refused, threshold = refusal(KEYS[1], KEYS[6], said[1], said[2], said[5], said[11], keys.counts)
local is_correction = may_correct(refused, standing, KEYS[6], idempotency)
if is_correction == 'repeated' then
  return {'duplicate'}
end
if is_correction and replace_waiting(keys, said) then
  note_correction(keys.log, said[1], said[12], refused[2], said[2])
  remember(KEYS[6], said, standing, idempotency)
  return {'replaced'}
end
if refused then
  return refused
end
refused = over_cap(keys.votes, keys.counts, pair_of(said), vote_of(said, 7))
if refused then
  return refused
end
remember(KEYS[6], said, standing, idempotency)
note_side(keys.counts, pair_of(said), drawn)
return match_outcome(keys, threshold, said)
