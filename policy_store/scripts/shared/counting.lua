-- NEEDS: budget, COUNTING_STATES
-- Decides whether a report counts at all.

-- The reply to an outcome that is not counted; or nil, and the evidence at which a policy is eliminated. A unit that
-- reported before gets the reply for that even after the end. A store that lost something may have given the
-- generation's number to another definition, whose policies are not those of the outcome. A report that is held first
-- has no `counts`: whether the budget is spent shows when it is due.
local function refusal(control, unit_key, generation, fingerprint, second, definition, counts)
  local known = redis.call('HMGET', control, generation .. ':state', generation .. ':policies',
    generation .. ':threshold', generation .. ':budget')
  if not known[1] then
    return {'unknown'}
  end
  local reported = redis.call('GET', unit_key)
  if reported then
    reported = string.match(reported, '^[^\n]*') -- idempotency keys may follow, see correcting.lua
    local still_counts = COUNTING_STATES[known[1]] and '1' or ''
    return reported == fingerprint and {'duplicate'} or {'contradicting', reported, still_counts}
  end
  if not COUNTING_STATES[known[1]] or (counts and is_spent(counts, known[4])) then
    return {'finished'}
  end
  definition = string.match(definition, '^[^|;]*')
  if definition ~= '' then
    local of = redis.call('HGET', control, generation .. ':watch_of') or generation
    if redis.call('HGET', control, 'fingerprint:' .. definition) ~= of then
      return {'unknown'}
    end
  end
  if tonumber(second) >= tonumber(known[2]) then
    return {'no_such_policy'}
  end
  return nil, tonumber(known[3])
end
