-- NEEDS: clock, events, view, MOVES, COUNTING_STATES
-- A planner's move: state, incumbent and certificate change in one step.
-- Reports held until then are dropped where nothing counts any more.
-- KEYS: control, events, log, held
-- ARGV: generation, fence, move, champion ('' for none), certificate, detail of the event
local control = KEYS[1]
local generation, fence, name, champion, certificate, detail = unpack(ARGV)
local move, of = MOVES[name], generation .. ':'
local known = redis.call('HMGET', control, of .. 'state', 'generation', 'fence', of .. 'certificate')
if not known[1] then
  return {'unknown'}
end
if known[1] == move.target and known[4] == certificate then
  return view(control) -- a repeated call, whose answer was lost
end
if known[3] ~= fence then
  return {'stale', known[3]}
end
if not move.sources[known[1]] or known[2] ~= generation then
  return {'conflict', known[1], known[2]}
end

redis.call('HSET', control, of .. 'state', move.target, of .. 'certificate', certificate)
if move.installs_champion then
  redis.call('HSET', control, of .. 'incumbent', champion)
end
redis.call('HINCRBY', control, 'revision', 1)
if not COUNTING_STATES[move.target] then
  redis.call('DEL', KEYS[4])
end
append_event(KEYS[3], KEYS[2], micros(), move.event, detail)
return view(control)
