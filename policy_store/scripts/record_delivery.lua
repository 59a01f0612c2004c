-- NEEDS: numbers, clock, deliveries
-- Records the result of sending a message, once.
-- KEYS: control, due, messages, dead
-- ARGV: fence, id, result, reason, microseconds until the next attempt, maximum of dead letters, address digest
local keys = delivery_keys(KEYS)
local fence, id, outcome, reason, wait, most, address = unpack(ARGV)
local holds = redis.call('HGET', keys.control, 'fence')
if holds ~= fence then
  return {'stale', holds or ''}
end
if not redis.call('ZSCORE', keys.due, id) then
  return {'ok'} -- a repeated call: the answer to the first was lost
end
local at = micros()
redis.call('HINCRBY', keys.messages, id .. ':attempts', 1)
if outcome == 'delivered' then
  redis.call('ZREM', keys.due, id)
  forget_message(keys, id)
  redis.call('HINCRBY', keys.control, 'delivered', 1)
  redis.call('HSET', keys.control, 'delivered_at', at)
elseif outcome == 'failed' then
  redis.call('HSET', keys.messages, id .. ':reason', reason)
  redis.call('ZADD', keys.due, text(tonumber(at) + tonumber(wait)), id)
elseif outcome == 'given_up' then
  give_up(keys, id, at, reason, tonumber(most))
else
  redis.call('HSET', keys.control, 'gone', address)
  for _, each in ipairs(redis.call('ZRANGE', keys.due, 0, -1)) do
    give_up(keys, each, at, reason, tonumber(most))
  end
end
return {'ok'}
