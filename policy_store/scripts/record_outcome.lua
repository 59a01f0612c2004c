-- NEEDS: counting
-- One policy of a pair got an outcome: it is compared with the longest waiting outcome of the other policy of
-- that pair, or waits for one.
-- KEYS: control, counts, forecasts, log, events, unit, own queue, rivals' queue
-- ARGV: generation, fingerprint of the feedback, seconds to remember the unit, first, second, source,
--       unit, side (0: the outcome is first's, 1: second's), value, tie margin
local keys = {counts = KEYS[2], forecasts = KEYS[3], log = KEYS[4], events = KEYS[5]}
local own_queue, rival_queue = KEYS[7], KEYS[8]
local generation, fingerprint, keep_seconds, first, second, source, unit, side, value, margin = unpack(ARGV)

-- The longest waiting outcome that is not this unit's own. (A unit whose first report was forgotten may
-- have been drawn again, for the other side.)
local function take_rival()
  local position = 0
  while true do
    local entry = redis.call('LINDEX', rival_queue, position)
    if not entry then
      return nil
    end
    local waiting = cjson.decode(entry)
    if waiting.unit ~= unit then
      redis.call('LREM', rival_queue, 1, entry)
      return waiting
    end
    position = position + 1
  end
end

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
-- First of all writes: a server out of memory refuses the first one, and with it all the others.
redis.call('SET', KEYS[6], fingerprint, 'EX', keep_seconds)

local rival = take_rival()
if not rival then
  -- The value stays text: cjson would round it to 14 digits.
  redis.call('RPUSH', own_queue, cjson.encode({unit = unit, value = value, source = source}))
  return {'pending'}
end
local is_first = side == '0'
local difference = tonumber(value) - tonumber(rival.value)
local sources = is_first and {source, rival.source} or {rival.source, source}
return count(keys, generation, threshold, first, second, compare(is_first and difference or -difference),
  sources[1] == sources[2] and source or table.concat(sources, ','))
