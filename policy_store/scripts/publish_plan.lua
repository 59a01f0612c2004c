-- NEEDS: numbers, clock, PLANNED_STATES
-- Replaces plan and forecasts of the current generation, or of the watch over its promotion, and logs the
-- forecasts before any outcome they count.
-- With the plan goes how many outcomes wait, by which routers draw the side of a pair that answers.
-- KEYS: control, counts, forecasts, log, waiting
-- ARGV: generation, fence, plan, forecasts for the log, outcomes under way ('' where none are matched), then field and
--       value of each forecast
local control, forecasts = KEYS[1], KEYS[3]
local generation, fence, plan, logged, under_way = unpack(ARGV, 1, 5)
local of = generation .. ':'
local known = redis.call('HMGET', control, of .. 'state', 'generation', 'fence',
  of .. 'plan', of .. 'plan_fence', of .. 'plan_version')
if not known[1] then
  return {'unknown'}
end
if known[4] == plan and known[5] == fence then
  return {'ok', known[6]} -- a repeated call whose answer was lost
end
if known[3] ~= fence then
  return {'stale', known[3]}
end
local is_current = known[2] == generation or redis.call('HGET', control, known[2] .. ':watch') == generation
if not PLANNED_STATES[known[1]] or not is_current then
  return {'finished'}
end

local at = micros()
local version = text(redis.call('HINCRBY', control, of .. 'plan_version', 1))
local waiting = {}
local lengths = redis.call('HGETALL', KEYS[5])
for position = 1, #lengths, 2 do
  if lengths[position + 1] ~= '0' then
    waiting[#waiting + 1] = lengths[position] .. '=' .. lengths[position + 1]
  end
end
waiting = table.concat(waiting, ' ')
redis.call('HSET', control, of .. 'plan', plan, of .. 'plan_fence', fence, of .. 'plan_at', at,
  of .. 'plan_waiting', waiting)
if under_way ~= '' then
  redis.call('HSET', control, of .. 'plan_under_way', under_way)
end
redis.call('HINCRBY', control, 'revision', 1)
redis.call('DEL', forecasts)
redis.call('HSET', forecasts, 'version', version)
for start = 6, #ARGV, 1000 do -- unpack has a limit
  redis.call('HSET', forecasts, unpack(ARGV, start, math.min(start + 999, #ARGV)))
end
redis.call('XADD', KEYS[4], '*', 'type', 'plan', 'version', version, 'fence', fence,
  'comparisons', redis.call('HGET', KEYS[2], 'comparisons') or '0', 'forecasts', logged, 'waiting', waiting,
  'at', at)
return {'ok', version}
