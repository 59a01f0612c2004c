-- NEEDS: clock, events, view, staging, moving, MOVES
-- A planner's move.
-- KEYS: control, events, log, held
-- ARGV: generation, fence, move, champion ('' for none), certificate ('' for none), detail of the event, verdict on
--       the watch that the move ends ('' for none), steps of the promotion that it begins ('' for none), comparisons
--       counted until now
local control = KEYS[1]
local generation, fence, name, champion, certificate, detail, verdict, steps, comparisons = unpack(ARGV)
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

if move.certifies and is_of_another_incumbent(control, of, certificate) then
  return {'conflict', known[1], generation}
end

local at, serves = micros(), make_move(control, KEYS[4], generation, move, champion, certificate, verdict)
if steps ~= '' then
  -- Who serves now serves again where the steps are taken back.
  redis.call('HSET', control, of .. 'steps', steps, of .. 'previous', serves)
  enter_step(control, of, '0', comparisons, at)
end
append_event(KEYS[3], KEYS[2], at, move.event, detail)
return view(control)
