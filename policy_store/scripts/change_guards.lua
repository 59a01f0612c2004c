-- NEEDS: clock, events, view, moving, MOVES
-- Replaces what guardrails found, if it is as the caller read it, together with the planner's move that follows.
-- The same change again finds itself made.
-- KEYS: control, events, log, held
-- ARGV: generation, fence ('' for a person), what was found before and what is found now (each '' for nothing), kind
--       and detail of the event, move that follows ('' for none), detail of its event
local control = KEYS[1]
local generation, fence, seen, after, kind, detail, name, moved = unpack(ARGV)
local move, of = MOVES[name], generation .. ':'
local known = redis.call('HMGET', control, of .. 'state', 'generation', 'guards')
if not known[1] then
  return {'unknown'}
end
if (known[3] or '') == after then
  return view(control) -- a repeated call whose answer was lost
end
local refused = fence ~= '' and not move and redis.call('HGET', control, 'fence') ~= fence
  and {'stale', redis.call('HGET', control, 'fence')}
refused = refused or move and planner_refused(control, generation, fence, move)
if refused then
  return refused
end
if known[2] ~= generation or (known[3] or '') ~= seen then
  return {'conflict', known[1], known[2]}
end

local at = micros()
redis.call('HSET', control, 'guards', after)
append_event(KEYS[3], KEYS[2], at, kind, detail)
if move then
  local before, serves = make_move(control, KEYS[4], generation, move, '', '', '')
  local said = cjson.decode(moved)
  append_event(KEYS[3], KEYS[2], at, move.event, said.actor and by_hand(said, known[1], move, before, serves) or moved)
else
  redis.call('HINCRBY', control, 'revision', 1)
end
return view(control)
