-- The latest messages that were given up, the newest first: id, when, body, how often each was sent, why it failed.
-- KEYS: messages, dead
-- ARGV: how many at most
local found = {}
local listed = redis.call('ZREVRANGE', KEYS[2], 0, tonumber(ARGV[1]) - 1, 'WITHSCORES')
for index = 1, #listed, 2 do
  local id = listed[index]
  local message = redis.call('HMGET', KEYS[1], id .. ':body', id .. ':attempts', id .. ':reason')
  found[#found + 1] = {id, listed[index + 1], message[1], message[2], message[3] or ''}
end
return {'ok', found}
