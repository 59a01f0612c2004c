-- NEEDS: numbers, clock, counting, voting
-- Keeps a report until its unit is as old as every unit is when it counts. The order of what is held is that of
-- the units' assignment: a member begins with the unit, so that not even equal times are put in order by what
-- is said. Whether the voter may give the vote is found out when it is counted, in that order too; only
-- a voter whose votes are used up is refused here, since that stays so.
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
