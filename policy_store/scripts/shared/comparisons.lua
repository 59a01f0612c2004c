-- NEEDS: numbers, clock, events, served, segments, forecasts, EVENTS
-- Counts a comparison.

-- Adds evidence against `row`; the first time its total reaches the threshold it is eliminated, for good. That
-- is an event only where it decides something by itself: with a margin (epsilon) totals alone do not, and in the
-- run of a watch a planner acts on it. `at_half` is what the outcome says against "at least one half", nil where
-- the experiment's promise needs no such evidence.
-- The increment stays text all the way: HINCRBY adds 64-bit integers, a Lua number is exact only to 2^53.
local function add_evidence(keys, generation, threshold, row, rival, increment, at_half, number, at)
  if at_half then
    redis.call('HINCRBY', keys.counts, 'half:' .. row .. ':' .. rival, at_half)
  end
  redis.call('HINCRBY', keys.counts, 'evidence:' .. row .. ':' .. rival, increment)
  local total = redis.call('HINCRBY', keys.counts, 'total:' .. row, increment)
  if total >= threshold and redis.call('HSETNX', keys.counts, 'eliminated:' .. row, number) == 1
      and redis.call('HEXISTS', keys.control, generation .. ':watch_of') == 0
      and cjson.decode(redis.call('HGET', keys.control, generation .. ':experiment')).epsilon == 0 then
    append_event(keys.log, keys.events, at, EVENTS.ELIMINATED, cjson.encode({
      comparison = tonumber(number), generation = tonumber(generation), policy = tonumber(row)}))
  end
end

-- The fields of a comparison's entry that are left out where nothing is known, see `note_of` in shared/reports.lua.
local NOTED = {'unit', 'given', 'position', 'served'}

-- Counts one comparison of `first` and `second` with the forecasts of the current plan, and logs it.
-- Without them nothing is added to the evidence; the log shows version 0.
local function count(keys, generation, threshold, first, second, result, source, voters, noted, segments)
  local planned, forecast, increments, second_forecast = forecast_of(keys.forecasts, first .. ':' .. second)
  local at = micros()
  local number = text(redis.call('HINCRBY', keys.counts, 'comparisons', 1))
  local entry = {'type', 'comparison', 'number', number, 'first', first, 'second', second, 'result', result,
    'forecast', forecast or '500000', 'version', planned or '0', 'source', source, 'at', at, 'voters', voters}
  if second_forecast then
    entry[#entry + 1], entry[#entry + 2] = 'second_forecast', second_forecast
  end
  for place, field in ipairs(NOTED) do
    if noted[place] ~= '' then
      entry[#entry + 1], entry[#entry + 2] = field, noted[place]
    end
  end
  if segments then
    entry[#entry + 1], entry[#entry + 2] = 'segments', note_segments(keys.segments, segments, first, second, result)
  end
  redis.call('XADD', keys.log, '*', unpack(entry))
  if planned then -- else it adds nothing to the evidence
    note_builds(keys, generation, {first, second}, noted[4], number, at)
  end
  redis.call('HINCRBY', keys.counts, 'source:' .. source, 1)
  if result == 'tie' then
    redis.call('HINCRBY', keys.counts, 'ties:' .. first .. ':' .. second, 1)
  else
    local is_win = result == 'win'
    local shift = is_win and 0 or 1
    local pair = is_win and (first .. ':' .. second) or (second .. ':' .. first)
    redis.call('HINCRBY', keys.counts, 'wins:' .. pair, 1)
    if planned then
      add_evidence(keys, generation, threshold, first, second, increments[1 + shift], increments[5 + shift], number, at)
      add_evidence(keys, generation, threshold, second, first, increments[3 + shift], increments[7 + shift], number, at)
    end
    if second_forecast then
      go_on(keys.forecasts, first .. ':' .. second, result)
    end
  end
  return {'counted', number}
end
