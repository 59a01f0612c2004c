-- NEEDS: numbers, clock
-- Records what a replica runs and forgets replicas that were silent for too long. Returns how often all were asked
-- to reload, then the other replicas and this one.
-- KEYS: replicas, number of requests to reload
-- ARGV: name, its record, lifetime in microseconds
local replicas, now = KEYS[1], micros()
redis.call('HSET', replicas, ARGV[1], now .. ' ' .. ARGV[2])
redis.call('PEXPIRE', replicas, text(ARGV[3] / 1000))

local reply = {'ok', redis.call('GET', KEYS[2]) or '0'}
local all = redis.call('HGETALL', replicas)
for position = 1, #all, 2 do
  local space = string.find(all[position + 1], ' ', 1, true)
  if now - string.sub(all[position + 1], 1, space - 1) > tonumber(ARGV[3]) then
    redis.call('HDEL', replicas, all[position])
  else
    reply[#reply + 1] = string.sub(all[position + 1], space + 1)
  end
end
return reply
