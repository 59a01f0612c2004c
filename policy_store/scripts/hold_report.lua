-- NEEDS: numbers, clock, counting, voting
-- Keeps a report until its unit has reached the age at which units count. Held reports have the order in which
-- their units were assigned: a member begins with the unit, so that even for equal times the order does not depend
-- on the outcome. Whether the voter may give the vote is decided when it is counted, in this order too. Only a
-- voter whose votes are used up is refused here, because that cannot change.
-- KEYS: control, unit, votes, held
-- ARGV: unit, when it is due in microseconds, milliseconds to keep it from then on; then the report, see
--       shared/reports.lua
local votes, held = KEYS[3], KEYS[4]
local unit, due, keep_ms = unpack(ARGV, 1, 3)
local said = {unpack(ARGV, 4)}

local refused = refusal(KEYS[1], KEYS[2], said[1], said[2], said[5], said[11])
if refused then
  return refused
end
local left_ms = (due - micros()) / 1000
if left_ms <= 0 then
  return {'after_hold'}
end
if has_voted(votes, said[4] .. ':' .. said[5], vote_of(said, 7)) then
  return {'over_cap', 'voter_cap'}
end
redis.call('ZADD', held, due, unit .. ' ' .. cjson.encode(said))
redis.call('SET', KEYS[2], said[2], 'EX', said[3])
local kept_ms = math.ceil(left_ms) + keep_ms
if redis.call('PTTL', held) < kept_ms then
  redis.call('PEXPIRE', held, text(kept_ms))
end
return {'held'}
