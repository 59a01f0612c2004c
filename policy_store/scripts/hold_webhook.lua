-- NEEDS: numbers, clock
-- Takes or renews the right to deliver to a webhook. Every change of holder gets a higher fencing number. A new
-- webhook begins a little before now, so that events during the gateways' start are delivered in any order of starts.
-- KEYS: control, due, messages, dead, lease
-- ARGV: holder, milliseconds, milliseconds to keep an unused webhook, microseconds to begin before now
local control, lease = KEYS[1], KEYS[5]
local holder, milliseconds, keep, earlier = unpack(ARGV)
local current = redis.call('GET', lease)
if current and current ~= holder then
  return {'held'}
end
redis.call('SET', lease, holder, 'PX', milliseconds)
redis.call('HSETNX', control, 'since', text(tonumber(micros()) - tonumber(earlier)))
if not current then
  redis.call('HINCRBY', control, 'fence', 1)
end
for index = 1, 4 do
  redis.call('PEXPIRE', KEYS[index], keep)
end
return {'ok', redis.call('HGETALL', control), redis.call('ZCARD', KEYS[2])}
