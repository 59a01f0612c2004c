-- NEEDS: numbers, clock
-- The state of the deliveries to a webhook.
-- KEYS: control, due, messages, dead
local control, due, messages, dead = unpack(KEYS)
local oldest
for _, id in ipairs(redis.call('ZRANGE', due, 0, -1)) do
  local at = tonumber(redis.call('HGET', messages, id .. ':at'))
  oldest = math.min(oldest or at, at)
end
local known = redis.call('HMGET', control, 'delivered', 'delivered_at', 'gone', 'forgotten')
return {'ok', micros(), redis.call('ZCARD', due), oldest and text(oldest) or '', redis.call('ZCARD', dead), known}
