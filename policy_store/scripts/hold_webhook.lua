-- NEEDS: numbers, clock
-- Takes or renews the right to deliver to a webhook. Every change of holder gets a higher fencing number. One that
-- is new begins a little before now, so that what happens while gateways start is told whatever starts first.
-- KEYS: control, due, messages, dead, lease
-- ARGV: holder, milliseconds, milliseconds to keep what no gateway asks for, microseconds to begin before now
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
