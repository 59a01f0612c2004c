-- NEEDS: reports, budget, COUNTING_STATES
-- Counts reports whose hold is over, each as if it had come now, and returns the result of each. If a report is no
-- longer the first held one, another replica counted it, and the script stops there. So the order is that of the
-- held reports however many replicas count, and each report is removed in the step that counts it.
-- KEYS: control, held, counts, forecasts, log, events, votes, waiting, members that another may replace,
--       segments; then queues of side 0 and 1 by pair
-- ARGV: generation; then for each report the position of its pair's first queue in KEYS, and its member of `held`
local control, held = KEYS[1], KEYS[2]
local keys = {control = control, counts = KEYS[3], forecasts = KEYS[4], log = KEYS[5], events = KEYS[6],
  votes = KEYS[7], waiting = KEYS[8], segments = KEYS[10]}

local known = redis.call('HMGET', control, ARGV[1] .. ':state', ARGV[1] .. ':threshold',
  ARGV[1] .. ':budget')
if not known[1] then
  return {'unknown'}
end
local became = {}
if not COUNTING_STATES[known[1]] then
  return {'ok', became}
end
for position = 2, #ARGV, 2 do
  local queue, member = tonumber(ARGV[position]), ARGV[position + 1]
  if redis.call('ZRANGE', held, 0, 0)[1] ~= member or is_spent(keys.counts, known[3]) then
    break
  end
  redis.call('ZREM', held, member)
  local space = string.find(member, ' ', 1, true)
  redis.call('HDEL', KEYS[9], string.sub(member, 1, space - 1))
  local said = cjson.decode(string.sub(member, space + 1))
  keys.queues = {KEYS[queue], KEYS[queue + 1]}
  local refused = over_cap(keys.votes, keys.counts, pair_of(said), vote_of(said, 7))
  if refused then
    became[#became + 1] = refused[2]
  else
    local take = is_preference(said) and count_preference or match_outcome
    became[#became + 1] = take(keys, tonumber(known[2]), said)[1]
  end
end
return {'ok', became}
