-- NEEDS: numbers, clock, deliveries
-- Takes up an experiment's events for a webhook, up to a place in the stream, each once. A receiver that answered 410
-- gets none.
-- KEYS: control, due, messages, dead
-- ARGV: fence, experiment, place before them ('' for none yet), place of the last, address digest, maximum of dead
--       letters; then the id and body of each event
local keys = delivery_keys(KEYS)
local fence, experiment, before, upto, address, most = unpack(ARGV, 1, 6)
local known = redis.call('HMGET', keys.control, 'fence', 'cursor:' .. experiment, 'gone')
if known[1] ~= fence then
  return {'stale', known[1] or ''}
end
if (known[2] or '') ~= before then
  return {'ok'} -- a repeated call: the answer to the first was lost
end
local at = micros()
for index = 7, #ARGV, 2 do
  local id = ARGV[index]
  redis.call('HSET', keys.messages, id .. ':body', ARGV[index + 1], id .. ':at', at, id .. ':attempts', '0')
  if known[3] == address then
    give_up(keys, id, at, 'gone', tonumber(most))
  else
    redis.call('ZADD', keys.due, at, id)
  end
end
redis.call('HSET', keys.control, 'cursor:' .. experiment, upto)
return {'ok'}
