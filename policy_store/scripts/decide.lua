-- NEEDS: clock, events, view, moving, MOVES
-- A planner's move.
-- KEYS: control, events, log, held
-- ARGV: generation, fence, move, champion ('' for none), certificate ('' for none), detail of the event
local control = KEYS[1]
local generation, fence, name, champion, certificate, detail = unpack(ARGV)
local move, of = MOVES[name], generation .. ':'
local known = redis.call('HMGET', control, of .. 'state', 'generation', 'fence', of .. 'certificate')
if not known[1] then
  return {'unknown'}
end
if move.certifies and known[1] == move.target and known[4] == certificate then
  return view(control) -- a repeated call, whose answer was lost
end
if known[3] ~= fence then
  return {'stale', known[3]}
end
if not move.sources[known[1]] or known[2] ~= generation then
  return {'conflict', known[1], known[2]}
end

make_move(control, KEYS[4], generation, move, champion, certificate)
append_event(KEYS[3], KEYS[2], micros(), move.event, detail)
return view(control)
