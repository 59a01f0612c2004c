-- NEEDS: numbers
-- Takes or renews the right to plan. Every change of holder gets a higher fencing number than any before.
-- KEYS: control, lease
-- ARGV: holder, milliseconds
local holder, milliseconds = unpack(ARGV)
if redis.call('HEXISTS', KEYS[1], 'generation') == 0 then
  return {'unknown'}
end
local current = redis.call('GET', KEYS[2])
if current and current ~= holder then
  return {'held'}
end
redis.call('SET', KEYS[2], holder, 'PX', milliseconds)
if current then
  return {'ok', redis.call('HGET', KEYS[1], 'fence')}
end
return {'ok', text(redis.call('HINCRBY', KEYS[1], 'fence', 1))}
