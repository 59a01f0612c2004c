-- A plan as readers of a run get it: version, fence, time, what routers draw from, what waits.
local function plan_fields(run)
  return {run .. 'plan_version', run .. 'plan_fence', run .. 'plan_at', run .. 'plan', run .. 'plan_waiting'}
end

-- Everything a reader of the current generation needs, from one moment. Field order: codec.py.
local function view(control)
  local current = redis.call('HMGET', control, 'generation', 'revision')
  if not current[1] then
    return {'unknown'}
  end
  local of = current[1] .. ':'
  local fields = redis.call('HMGET', control, of .. 'experiment', of .. 'state', of .. 'incumbent',
    of .. 'certificate', of .. 'steps', of .. 'step', of .. 'step_at', of .. 'step_comparisons', of .. 'look',
    unpack(plan_fields(of)))
  local watch, watched = redis.call('HGET', control, of .. 'watch'), {}
  if watch then
    local run = watch .. ':'
    watched = redis.call('HMGET', control, run .. 'champion', run .. 'previous', run .. 'terms',
      run .. 'started_at', run .. 'verdict', unpack(plan_fields(run)))
    table.insert(watched, 1, watch)
  end
  return {'ok', current[1], current[2], fields, watched}
end
