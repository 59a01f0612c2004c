-- NEEDS: numbers
-- Outcomes that wait for one of the pair's other policy, in a list, oldest first. Each has the time at which it came.
-- It waits for a limited time, and the newest is compared first. Both depend only on the order of arrival, never on
-- the outcomes themselves (docs/decisions/0019-newest-first.md).

-- Earlier versions wrote no times. Such outcomes count as having come when this version first finds them.
local function add_times(queue, at)
  local ends = {redis.call('LINDEX', queue, 0), redis.call('LINDEX', queue, -1)}
  local is_timed = true
  for _, entry in ipairs(ends) do
    is_timed = is_timed and cjson.decode(entry).at ~= nil
  end
  if is_timed then
    return
  end
  local entries = redis.call('LRANGE', queue, 0, -1)
  redis.call('DEL', queue)
  for _, entry in ipairs(entries) do
    local outcome = cjson.decode(entry)
    outcome.at = outcome.at or at
    redis.call('RPUSH', queue, cjson.encode(outcome))
  end
end

-- Drops outcomes that came before `since`. Each is dropped once, so a call takes little time on average.
local function drop_expired(queue, since)
  local oldest = redis.call('LINDEX', queue, 0)
  while oldest and tonumber(cjson.decode(oldest).at) < since do
    redis.call('LPOP', queue)
    oldest = redis.call('LINDEX', queue, 0)
  end
end

-- Takes the newest waiting outcome of another unit. (A unit whose first report was forgotten may have been drawn
-- again for the other side.)
local function take_newest(queue, unit)
  local position = -1
  while true do
    local entry = redis.call('LINDEX', queue, position)
    if not entry then
      return nil
    end
    local outcome = cjson.decode(entry)
    if outcome.unit ~= unit then
      redis.call('LREM', queue, -1, entry)
      return outcome
    end
    position = position - 1
  end
end
