-- Everything a reader of the current generation needs, from one moment. Field order: codec.py.
local function view(control)
  local current = redis.call('HMGET', control, 'generation', 'revision')
  if not current[1] then
    return {'unknown'}
  end
  local of = current[1] .. ':'
  local fields = redis.call('HMGET', control, of .. 'experiment', of .. 'state', of .. 'incumbent',
    of .. 'plan_version', of .. 'plan_fence', of .. 'plan_at', of .. 'plan', of .. 'certificate', of .. 'plan_waiting')
  return {'ok', current[1], current[2], fields}
end
