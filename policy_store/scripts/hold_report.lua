-- NEEDS: numbers, clock, counting, correcting, voting
-- Keeps a report until its unit has reached the age at which units count. Held reports have the order in which
-- their units were assigned: a member begins with the unit, so that even for equal times the order does not depend
-- on the outcome. Whether the voter may give the vote is decided when it is counted, in this order too. Only a
-- voter whose votes are used up is refused here, because that cannot change.
-- What a unit comes to without a report ('missing') is held alike, until a report takes its place. Nothing counts
-- before its time, so a later word may take the place of an earlier one as well.
-- KEYS: control, unit, votes, held, members that another may replace, log, counts
-- ARGV: unit, when it is due in microseconds, milliseconds to keep it from then on, how it stands to others of the
--       unit ('first', 'replace' or 'missing'), idempotency key, how the coin fell ('' if not known); then the
--       report, see shared/reports.lua
local votes, held, replaceable = KEYS[3], KEYS[4], KEYS[5]
local unit, due, keep_ms, standing, idempotency, drawn = unpack(ARGV, 1, 6)
local said = {unpack(ARGV, 7)}

local refused = refusal(KEYS[1], KEYS[2], said[1], said[2], said[5], said[11])
local before = redis.call('HGET', replaceable, unit)
if before and not redis.call('ZSCORE', held, before) then
  before = nil
end
local is_correction = before and may_correct(refused, standing, KEYS[2], idempotency)
if is_correction == 'repeated' then
  return {'duplicate'}
end
if refused and not is_correction then
  return refused
end
if standing == 'missing' and before then
  return {'duplicate'}
end
local left_ms = (due - micros()) / 1000
if left_ms <= 0 then
  return {'after_hold'}
end
local used_up = over_voter_cap(votes, said[4] .. ':' .. said[5], vote_of(said, 7))
if used_up then
  return used_up
end
local member = unit .. ' ' .. cjson.encode(said)
redis.call('ZADD', held, due, member)
if before and before ~= member then
  redis.call('ZREM', held, before)
end
local kept_ms = math.ceil(left_ms) + keep_ms
if redis.call('PTTL', held) < kept_ms then
  redis.call('PEXPIRE', held, text(kept_ms))
end
if standing == 'first' then
  if before then
    redis.call('HDEL', replaceable, unit)
  end
else
  redis.call('HSET', replaceable, unit, member)
  redis.call('PEXPIRE', replaceable, redis.call('PTTL', held))
end
if standing == 'missing' then
  return {'held'}
end
if is_correction then
  note_correction(KEYS[6], said[1], unit, refused[2], said[2])
else
  note_side(KEYS[7], said[4] .. ':' .. said[5], drawn)
end
remember(KEYS[2], said, standing, idempotency)
return {is_correction and 'replaced' or 'held'}
