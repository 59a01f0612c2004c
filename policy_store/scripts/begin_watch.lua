-- NEEDS: numbers, clock, events, view, moving, MOVES, INITIAL_STATE
-- A planner's move that starts the watch of a promotion: the champion and the policy before it are compared in a run
-- of their own, numbered like a generation, until another move ends the watch.
-- KEYS: control, events, log, held
-- ARGV: generation, fence, move, terms, evidence that finds the champion worse, rest of the event's detail
local control = KEYS[1]
local generation, fence, name, terms, threshold, detail = unpack(ARGV)
local move, of = MOVES[name], generation .. ':'
local known = redis.call('HMGET', control, of .. 'state', of .. 'experiment', of .. 'policies', of .. 'incumbent')
if not known[1] then
  return {'unknown'}
end
local refused = planner_refused(control, generation, fence, move)
if refused then
  return refused
end

local run, at, previous = text(redis.call('HINCRBY', control, 'generations', 1)), micros(), previous_of(control, of)
local own = run .. ':'
redis.call('HSET', control, own .. 'watch_of', generation, own .. 'experiment', known[2], own .. 'policies', known[3],
  own .. 'threshold', threshold, own .. 'state', INITIAL_STATE, own .. 'started_at', at, own .. 'terms', terms,
  own .. 'champion', known[4], own .. 'previous', previous)
make_move(control, KEYS[4], generation, move, '', '', '')
redis.call('HSET', control, of .. 'watch', run)
append_event(KEYS[3], KEYS[2], at, move.event, cjson.encode({
  run = tonumber(run), champion = tonumber(known[4]), previous = tonumber(previous),
}), detail)
return view(control)
