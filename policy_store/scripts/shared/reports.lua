-- NEEDS: numbers, clock, comparisons, segments, waiting, voting
-- Counts a report, at once or at the end of its hold. `said` is a report in the form for scripts:
-- generation, fingerprint of the feedback, seconds to remember the unit, first, second, source, voter,
-- API key, voter caps (see `vote_of`), largest share of a key, definition with segments and a note for the log; then the result of a preference, or of an outcome unit, side
-- (0: it is first's, 1: second's), value (a number, 'loss' or 'tie'), tie margin and seconds to wait.

local COMMON = 11 -- the number of fields that every report has

local function pair_of(said)
  return said[4] .. ':' .. said[5]
end

local function is_preference(said)
  return #said == COMMON + 1
end

-- The note for the log: the unit, when its answer was given, which policy was shown first, and the builds that served.
-- It follows the definition in the same field, so that a replica of an earlier version counts held reports.
local function note_of(said)
  return string.match(said[COMMON], '|(.*)$')
end

local function known_segments(said)
  return segments_of(said[COMMON])
end

local function parts_of(note)
  local unit, given, position, served = string.match(note or '', '^([^|]*)|([^|]*)|([^|]*)|(.*)$')
  return {unit or '', given or '', position or '', served or ''}
end

-- The parts of two notes about one policy each, those of `first` first.
local function joined_parts(first, second)
  local joined = {}
  for place, part in ipairs(first) do
    joined[place] = (part == '' and second[place] == '') and '' or part .. ',' .. second[place]
  end
  return joined
end

local function count_preference(keys, threshold, said)
  local generation, _, _, first, second, source, voter = unpack(said, 1, 7)
  note_voters(keys.votes, keys.counts, {voter})
  return count(keys, generation, threshold, first, second, said[COMMON + 1], source, voter,
    parts_of(note_of(said)), known_segments(said))
end

-- How much better an outcome is than another one. 'loss' is worse than every value, and 'tie' as good as any.
local function difference_of(value, rival)
  if value == 'tie' or rival == 'tie' or value == rival then
    return 0
  end
  if value == 'loss' or rival == 'loss' then
    return value == 'loss' and -math.huge or math.huge
  end
  return tonumber(value) - tonumber(rival)
end

-- Puts an outcome in the place of the one that its unit has waiting; whether there is one. Its turn stays what it was.
local function replace_waiting(keys, said)
  local unit, side, value = unpack(said, COMMON + 1, COMMON + 3)
  local queue = keys.queues[side + 1]
  for position, entry in ipairs(redis.call('LRANGE', queue, 0, -1)) do
    local outcome = cjson.decode(entry)
    if outcome.unit == unit then
      outcome.value, outcome.source = value, said[6]
      outcome.note, outcome.segments = note_of(said), known_segments(said)
      redis.call('LSET', queue, position - 1, cjson.encode(outcome))
      return true
    end
  end
  return false
end

-- Compares an outcome with the newest waiting one of the pair's other policy, or lets it wait.
local function match_outcome(keys, threshold, said)
  local generation, _, _, first, second, source, voter = unpack(said, 1, 7)
  local unit, side, value, margin = unpack(said, COMMON + 1, COMMON + 4)
  local wait_seconds = tonumber(said[COMMON + 5])
  local own_queue, rival_queue = keys.queues[side + 1], keys.queues[2 - side]

  local at = micros()
  for _, queue in ipairs(keys.queues) do
    if redis.call('EXISTS', queue) == 1 then
      add_times(queue, at)
      drop_expired(queue, tonumber(at) - wait_seconds * 1000000)
    end
  end
  local rival = take_newest(rival_queue, unit)
  if not rival then
    -- The value stays text: cjson would round it to 14 digits.
    redis.call('RPUSH', own_queue, cjson.encode({
      unit = unit, value = value, source = source, at = at, voter = voter, note = note_of(said),
      segments = known_segments(said)}))
    redis.call('PEXPIRE', own_queue, text(math.ceil(wait_seconds * 1000)))
  end
  for index, queue in ipairs(keys.queues) do
    redis.call('HSET', keys.waiting, pair_of(said) .. ':' .. (index - 1), text(redis.call('LLEN', queue)))
  end
  if not rival then
    return {'pending'}
  end
  local is_first = side == '0'
  local difference = difference_of(value, rival.value)
  if not is_first then
    difference = -difference
  end
  local result = difference > 0 and 'win' or 'loss'
  if math.abs(difference) <= tonumber(margin) then
    result = 'tie'
  end
  local sources = is_first and {source, rival.source} or {rival.source, source}
  local voters = is_first and {voter, rival.voter or ''} or {rival.voter or '', voter}
  note_voters(keys.votes, keys.counts, voters)
  local own, other = parts_of(note_of(said)), parts_of(rival.note)
  return count(keys, generation, threshold, first, second, result,
    sources[1] == sources[2] and source or table.concat(sources, ','), table.concat(voters, ','),
    is_first and joined_parts(own, other) or joined_parts(other, own), joined_segments(known_segments(said), rival.segments))
end
