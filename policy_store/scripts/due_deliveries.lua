-- NEEDS: numbers, clock
-- The first messages that are due: id, body and number of attempts.
-- KEYS: due, messages
-- ARGV: maximum number
local found = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', micros(), 'LIMIT', 0, ARGV[1])) do
  local message = redis.call('HMGET', KEYS[2], id .. ':body', id .. ':attempts')
  found[#found + 1] = {id, message[1], message[2]}
end
return {'ok', found}
