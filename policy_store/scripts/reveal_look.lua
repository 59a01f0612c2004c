-- NEEDS: clock, events, view, budget, moving, MOVES, EVENTS
-- Reveals the secret of a generation's last look, once its budget is spent without a decision.
-- KEYS: control, events, log, counts, look
-- ARGV: generation, fence
local control = KEYS[1]
local generation, fence = unpack(ARGV)
local of = generation .. ':'
local known = redis.call('HMGET', control, of .. 'state', of .. 'look', of .. 'budget')
if not known[1] then
  return {'unknown'}
end
if known[2] then
  return view(control) -- a repeated call whose answer was lost
end
local refused = planner_refused(control, generation, fence, MOVES.run_out)
if refused then
  return refused
end
if not is_spent(KEYS[4], known[3]) then
  return {'conflict', known[1], generation}
end

local secret = redis.call('GET', KEYS[5]) or ''
redis.call('HSET', control, of .. 'look', secret)
redis.call('HINCRBY', control, 'revision', 1)
append_event(KEYS[3], KEYS[2], micros(), EVENTS.LOOK_REVEALED, cjson.encode({
  comparisons = tonumber(redis.call('HGET', KEYS[4], 'comparisons')), fence = tonumber(fence),
  generation = tonumber(generation), secret = secret}))
redis.call('DEL', KEYS[5])
return view(control)
