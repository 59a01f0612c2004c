-- NEEDS: clock, events, view, moving, MOVES
-- A move that someone gives a reason for. It is made from the state, and where it rests on a certificate from the
-- certificate, that the person saw. The same move by the same person for the same reason again finds itself made.
-- KEYS: control, events, log, held
-- ARGV: generation, move, champion ('' for none), certificate ('' for none), certificate that was seen ('' for
--       any), JSON of the person, the reason and the generation, fence of a planner that moves ('' for a person), verdict on the
--       watch that the move ends ('' for none), what guardrails found before and find after the move (both '' where it
--       changes nothing about that)
local control = KEYS[1]
local generation, name, champion, certificate, seen, said, fence, verdict, found, finds = unpack(ARGV)
local move, of = MOVES[name], generation .. ':'
local signature = name .. ' ' .. champion .. ' ' .. said
local known = redis.call('HMGET', control, of .. 'state', 'generation', of .. 'certificate', of .. 'by_hand')
if not known[1] then
  return {'unknown'}
end
if known[1] == move.target and known[2] == generation and known[4] == signature then
  return view(control) -- a repeated call whose answer was lost
end
local refused = fence ~= '' and planner_refused(control, generation, fence, move)
if refused then
  return refused
end
if not move.sources[known[1]] or known[2] ~= generation or (seen ~= '' and known[3] ~= seen)
    or (move.installs == 'champion' and is_of_another_incumbent(control, of, move.certifies and certificate or known[3]))
    or lacks_promotion(control, of, move) or is_found_worse(control, of, move, champion)
    or (found ~= finds and (redis.call('HGET', control, 'guards') or '') ~= found) then
  return {'conflict', known[1], known[2]}
end

local before, after = make_move(control, KEYS[4], generation, move, champion, certificate, verdict)
redis.call('HSET', control, of .. 'by_hand', signature)
if found ~= finds then
  redis.call('HSET', control, 'guards', finds)
end
append_event(KEYS[3], KEYS[2], micros(), move.event, by_hand(cjson.decode(said), known[1], move, before, after))
return view(control)
