-- NEEDS: numbers, clock, deliveries
-- Takes up the events of an experiment that a webhook is to be told of, up to a place, each once. A webhook whose
-- receiver said that it is gone is told nothing.
-- KEYS: control, due, messages, dead
-- ARGV: fence, experiment, place before them ('' for none yet), place of the last, digest of the address, most dead
--       letters; then of each event id and body
local keys = delivery_keys(KEYS)
local fence, experiment, before, upto, address, most = unpack(ARGV, 1, 6)
local known = redis.call('HMGET', keys.control, 'fence', 'cursor:' .. experiment, 'gone')
if known[1] ~= fence then
  return {'stale', known[1] or ''}
end
if (known[2] or '') ~= before then
  return {'ok'} -- a repeated call, whose answer was lost
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
