-- Takes back what a unit was to come to without a report.
-- KEYS: held, members that another may replace
-- ARGV: unit, fingerprint of what is taken back as the member has it
local member = redis.call('HGET', KEYS[2], ARGV[1])
if member and string.find(member, ARGV[2], 1, true) then
  redis.call('ZREM', KEYS[1], member)
  redis.call('HDEL', KEYS[2], ARGV[1])
end
return {'ok'}
