-- NEEDS: numbers, clock, events, EVENTS
-- Puts an experiment from a backup in force, as a whole: what was written under other names takes the place of what
-- is there. Fence and revision grow, so a planner of before is refused and every replica reads anew. No number of a
-- generation is given again, because sessions may remember what they were assigned in one that is gone.
-- KEYS: control, events, log of the generation that becomes current, lease; then the staged keys, the keys that they
--       become in the same order, and the keys to be removed
-- ARGV: revision that was seen ('' for no such experiment), number of staged keys, detail of the event; then for each
--       staged key when it expires in milliseconds, '' for never
local control, seen, staged = KEYS[1], ARGV[1], tonumber(ARGV[2])
local known = redis.call('HMGET', control, 'revision', 'fence', 'generations')
if (known[1] or '') ~= seen then
  return {'moved_on', known[1] or 'none', seen == '' and 'none' or seen}
end
for index = 1, staged do
  if redis.call('EXISTS', KEYS[4 + index]) == 0 then
    return {'interrupted'}
  end
end

redis.call('DEL', KEYS[4])
for index = 5 + 2 * staged, #KEYS do
  redis.call('UNLINK', KEYS[index])
end
for index = 1, staged do
  local key = KEYS[4 + staged + index]
  redis.call('RENAME', KEYS[4 + index], key)
  if ARGV[3 + index] == '' then
    redis.call('PERSIST', key)
  else
    redis.call('PEXPIREAT', key, ARGV[3 + index])
  end
end
local restored = redis.call('HMGET', control, 'revision', 'fence', 'generations')
local function highest(index)
  return math.max(tonumber(known[index] or '0'), tonumber(restored[index] or '0'))
end
redis.call('HSET', control, 'revision', text(highest(1) + 1), 'fence', text(highest(2) + 1),
  'generations', text(highest(3)))
append_event(KEYS[3], KEYS[2], micros(), EVENTS.RESTORED, ARGV[3])
return {'ok'}
