-- The latest dead letters, newest first: id, time, body, number of attempts, reason of the last failure.
-- KEYS: messages, dead
-- ARGV: maximum number
local found = {}
local listed = redis.call('ZREVRANGE', KEYS[2], 0, tonumber(ARGV[1]) - 1, 'WITHSCORES')
for index = 1, #listed, 2 do
  local id = listed[index]
  local message = redis.call('HMGET', KEYS[1], id .. ':body', id .. ':attempts', id .. ':reason')
  found[#found + 1] = {id, listed[index + 1], message[1], message[2], message[3] or ''}
end
return {'ok', found}
