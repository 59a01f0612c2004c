-- Put in front of every script. A script runs atomically, so what these functions read cannot change before
-- what they write. Numbers leave as integer text: Lua would print large ones as 1.0e+15.

local function text(number)
  return string.format('%.0f', number)
end

-- The server's clock in microseconds: replicas' clocks differ, and no caller can backdate an entry.
local function micros()
  local time = redis.call('TIME')
  return text(time[1] * 1000000 + time[2])
end

-- Events are in the log, for their order among comparisons, and in a short list of their own, for reading.
local function append_event(log, events, at, kind, detail)
  for _, stream in ipairs({log, events}) do
    redis.call('XADD', stream, '*', 'type', 'event', 'kind', kind, 'detail', detail, 'at', at)
  end
end

-- Everything a reader of the current generation needs, from one moment. Field order: codec.py.
local function view(control)
  local current = redis.call('HMGET', control, 'generation', 'revision')
  if not current[1] then
    return {'unknown'}
  end
  local of = current[1] .. ':'
  local fields = redis.call('HMGET', control, of .. 'experiment', of .. 'state', of .. 'incumbent',
    of .. 'plan_version', of .. 'plan_fence', of .. 'plan_at', of .. 'plan', of .. 'certificate')
  return {'ok', current[1], current[2], fields}
end

-- The reply to an outcome that is not counted; or nil, and the evidence at which a policy is eliminated.
-- A unit that reported before is told so even after the end.
local function refusal(control, unit_key, generation, fingerprint, second)
  local known = redis.call('HMGET', control, generation .. ':state', generation .. ':policies',
    generation .. ':threshold')
  if not known[1] then
    return {'unknown'}
  end
  local reported = redis.call('GET', unit_key)
  if reported then
    return reported == fingerprint and {'duplicate'} or {'contradicting', reported}
  end
  if known[1] ~= 'running' then
    return {'finished'}
  end
  if tonumber(second) >= tonumber(known[2]) then
    return {'no_such_policy'}
  end
  return nil, tonumber(known[3])
end

-- Adds evidence against `row`; the first time its total reaches the threshold it is eliminated, for good.
-- The increment stays text all the way: HINCRBY adds 64-bit integers, a Lua number is exact only to 2^53.
local function add_evidence(keys, generation, threshold, row, rival, increment, number, at)
  redis.call('HINCRBY', keys.counts, 'evidence:' .. row .. ':' .. rival, increment)
  local total = redis.call('HINCRBY', keys.counts, 'total:' .. row, increment)
  if total >= threshold and redis.call('HSETNX', keys.counts, 'eliminated:' .. row, number) == 1 then
    local detail = '{"comparison":' .. number .. ',"generation":' .. generation .. ',"policy":' .. row .. '}'
    append_event(keys.log, keys.events, at, 'eliminated', detail)
  end
end

-- Counts one comparison of `first` and `second` with the forecast of the current plan, and logs it.
-- Without a forecast nothing is added to the evidence; the log shows version 0.
local function count(keys, generation, threshold, first, second, result, source)
  local published = redis.call('HMGET', keys.forecasts, 'version', first .. ':' .. second)
  local at = micros()
  local version, forecast, increments = '0', '500000', {'0', '0', '0', '0'}
  if published[2] then
    version = published[1]
    local numbers = {}
    for number in string.gmatch(published[2], '[^,]+') do
      numbers[#numbers + 1] = number
    end
    forecast = table.remove(numbers, 1)
    increments = numbers
  end
  local number = text(redis.call('HINCRBY', keys.counts, 'comparisons', 1))
  redis.call('XADD', keys.log, '*', 'type', 'comparison', 'number', number, 'first', first, 'second', second,
    'result', result, 'forecast', forecast, 'version', version, 'source', source, 'at', at)
  redis.call('HINCRBY', keys.counts, 'source:' .. source, 1)
  if result == 'tie' then
    redis.call('HINCRBY', keys.counts, 'ties:' .. first .. ':' .. second, 1)
  else
    local is_win = result == 'win'
    local pair = is_win and (first .. ':' .. second) or (second .. ':' .. first)
    redis.call('HINCRBY', keys.counts, 'wins:' .. pair, 1)
    add_evidence(keys, generation, threshold, first, second, is_win and increments[1] or increments[2], number, at)
    add_evidence(keys, generation, threshold, second, first, is_win and increments[3] or increments[4], number, at)
  end
  return {'counted', number, result, forecast, version, source, at}
end
