-- NEEDS: VIEW_FIELDS, WATCH_FIELDS
local function fields_of(control, run, names)
  local fields = {}
  for index, name in ipairs(names) do
    fields[index] = run .. ':' .. name
  end
  return redis.call('HMGET', control, unpack(fields))
end

-- Everything a reader of the current generation needs, from one moment.
local function view(control)
  local current = redis.call('HMGET', control, 'generation', 'revision')
  if not current[1] then
    return {'unknown'}
  end
  local watch, watched = redis.call('HGET', control, current[1] .. ':watch'), {}
  if watch then
    watched = fields_of(control, watch, WATCH_FIELDS)
    table.insert(watched, 1, watch)
  end
  return {'ok', current[1], current[2], fields_of(control, current[1], VIEW_FIELDS), watched,
    redis.call('HGET', control, 'guards') or ''}
end
