-- NEEDS: counting, waiting, voting
-- One policy of a pair got an outcome: it is compared with the newest waiting outcome of the other policy of
-- that pair, or waits for one.
-- KEYS: control, counts, forecasts, log, events, unit, votes, waiting, queue of side 0, queue of side 1
-- ARGV: generation, fingerprint of the feedback, seconds to remember the unit, first, second, source,
--       voter, API key, voter cap, largest share of a key,
--       unit, side (0: the outcome is first's, 1: second's), value, tie margin, seconds to wait
local keys = {counts = KEYS[2], forecasts = KEYS[3], log = KEYS[4], events = KEYS[5]}
local votes, waiting, queues = KEYS[7], KEYS[8], {KEYS[9], KEYS[10]}
local generation, fingerprint, keep_seconds, first, second, source = unpack(ARGV, 1, 6)
local vote = vote_of(ARGV, 7)
local unit, side, value, margin = unpack(ARGV, 11, 14)
local wait_seconds = tonumber(ARGV[15])
local own_queue, rival_queue = queues[side + 1], queues[2 - side]

local function compare(difference)
  if math.abs(difference) <= tonumber(margin) then
    return 'tie'
  end
  return difference > 0 and 'win' or 'loss'
end

local refused, threshold = refusal(KEYS[1], KEYS[6], generation, fingerprint, second)
if refused then
  return refused
end
refused = over_cap(votes, first .. ':' .. second, vote)
if refused then
  return refused
end
redis.call('SET', KEYS[6], fingerprint, 'EX', keep_seconds)

local at = micros()
for _, queue in ipairs(queues) do
  if redis.call('EXISTS', queue) == 1 then
    add_times(queue, at)
    drop_expired(queue, tonumber(at) - wait_seconds * 1000000)
  end
end
local rival = take_newest(rival_queue, unit)
if not rival then
  -- The value stays text: cjson would round it to 14 digits.
  redis.call('RPUSH', own_queue, cjson.encode({
    unit = unit, value = value, source = source, at = at, voter = vote.voter}))
  redis.call('PEXPIRE', own_queue, text(math.ceil(wait_seconds * 1000)))
end
for index, queue in ipairs(queues) do
  redis.call('HSET', waiting, first .. ':' .. second .. ':' .. (index - 1), text(redis.call('LLEN', queue)))
end
if not rival then
  return {'pending'}
end
local is_first = side == '0'
local difference = tonumber(value) - tonumber(rival.value)
local sources = is_first and {source, rival.source} or {rival.source, source}
local voters = is_first and {vote.voter, rival.voter or ''} or {rival.voter or '', vote.voter}
note_voters(votes, KEYS[2], voters)
return count(keys, generation, threshold, first, second, compare(is_first and difference or -difference),
  sources[1] == sources[2] and source or table.concat(sources, ','), table.concat(voters, ','))
