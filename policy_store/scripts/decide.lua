-- NEEDS: clock, events, view, moving, MOVES
-- A planner's move.
-- KEYS: control, events, log, held
-- ARGV: generation, fence, move, champion ('' for none), certificate ('' for none), detail of the event, verdict on
--       the watch that the move ends ('' for none)
local control = KEYS[1]
local generation, fence, name, champion, certificate, detail, verdict = unpack(ARGV)
local move, of = MOVES[name], generation .. ':'
local known = redis.call('HMGET', control, of .. 'state', of .. 'certificate')
if not known[1] then
  return {'unknown'}
end
if move.certifies and known[1] == move.target and known[2] == certificate then
  return view(control) -- a repeated call whose answer was lost
end
local refused = planner_refused(control, generation, fence, move)
if refused then
  return refused
end

make_move(control, KEYS[4], generation, move, champion, certificate, verdict)
append_event(KEYS[3], KEYS[2], micros(), move.event, detail)
return view(control)
