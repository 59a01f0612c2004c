-- NEEDS: numbers, clock, events, view, staging, moving, MOVES
-- The next step of a staged promotion: a planner's move, or a person's who approves the present one. The same
-- approval by the same person for the same reason again finds itself made.
-- KEYS: control, events, log, held
-- ARGV: generation, move, index of the step that is left, comparisons counted until now, share of the step that is
--       entered, detail of the event, fence ('' for a person), certificate that was seen ('' for any)
local control = KEYS[1]
local generation, name, left, comparisons, share, detail, fence, seen = unpack(ARGV)
local move, of = MOVES[name], generation .. ':'
local signature = name .. ' ' .. detail
local known = redis.call('HMGET', control, of .. 'state', 'generation', of .. 'certificate', of .. 'by_hand',
  of .. 'step')
if not known[1] then
  return {'unknown'}
end
if fence == '' and known[1] == move.target and known[2] == generation and known[4] == signature then
  return view(control) -- a repeated call, whose answer was lost
end
local refused = fence ~= '' and planner_refused(control, generation, fence, move)
if refused then
  return refused
end
if not move.sources[known[1]] or known[2] ~= generation or known[5] ~= left or (seen ~= '' and known[3] ~= seen) then
  return {'conflict', known[1], known[2]}
end

local at, entered = micros(), text(left + 1)
local before, after = make_move(control, KEYS[4], generation, move, '', '', '')
enter_step(control, of, entered, comparisons, at)
if fence == '' then
  redis.call('HSET', control, of .. 'by_hand', signature)
  local said = cjson.decode(detail)
  said.step, said.share = left + 2, tonumber(share)
  detail = by_hand(said, known[1], move, before, after)
end
append_event(KEYS[3], KEYS[2], at, move.event, detail)
return view(control)
