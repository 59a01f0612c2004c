-- NEEDS: numbers, clock
-- The first messages that are to be sent now: id, body and how often each was sent.
-- KEYS: due, messages
-- ARGV: how many at most
local found = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', micros(), 'LIMIT', 0, ARGV[1])) do
  local message = redis.call('HMGET', KEYS[2], id .. ':body', id .. ':attempts')
  found[#found + 1] = {id, message[1], message[2]}
end
return {'ok', found}
