-- Notes in which segments of requests a comparison was made. Nothing that decides reads what is noted here.
-- A segment is a path into the request and the value there. Values in parentheses are ours, and no caller's.

local MOST_VALUES = 20 -- values of a path that are counted by themselves; callers may make up any number
local NO_VALUE, OTHER_VALUE, MIXED_VALUES = '(none)', '(other)', '(mixed)'
local SEGMENT = '([^;=]+)=([^;]*)'

-- The segments in the field of a report that has its definition: each behind a ';', and before the note. A replica of
-- an earlier version that counts a held report passes over them. nil if there are none.
local function segments_of(field)
  return string.match(field, '^[^|;]*;([^|]+)|')
end

-- The segments of two answers, as far as they are known of both; nil if none is.
local function joined_segments(one, other)
  local joined, values = {}, {}
  for path, value in string.gmatch(other or '', SEGMENT) do
    values[path] = value
  end
  for path, value in string.gmatch(one or '', SEGMENT) do
    if values[path] then
      joined[#joined + 1] = path .. '=' .. (values[path] == value and value or MIXED_VALUES)
    end
  end
  return #joined > 0 and table.concat(joined, ';') or nil
end

-- What a value is counted as: itself, or one of the others if as many values of its path came before it.
local function counted_value(key, path, value)
  local field, number = 'value:' .. path .. '=' .. value, 'values:' .. path
  if value == NO_VALUE or value == OTHER_VALUE or value == MIXED_VALUES
      or redis.call('HEXISTS', key, field) == 1 then
    return value
  end
  if tonumber(redis.call('HGET', key, number) or 0) >= MOST_VALUES then
    return OTHER_VALUE
  end
  redis.call('HSET', key, field, redis.call('HINCRBY', key, number, 1))
  return value
end

-- Adds a comparison to the counts of its segments; returns them as they were counted, for the log.
local function note_segments(key, segments, first, second, result)
  local counted = {}
  for path, said in string.gmatch(segments, SEGMENT) do
    local segment = path .. '=' .. counted_value(key, path, said)
    redis.call('HINCRBY', key, table.concat({'result', first, second, result, segment}, ':'), 1)
    counted[#counted + 1] = segment
  end
  return table.concat(counted, ';')
end
