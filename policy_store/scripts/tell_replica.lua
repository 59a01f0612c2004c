-- NEEDS: numbers, clock
-- Notes what a replica runs, forgets those that were silent for too long, and returns how often all were asked to
-- reload, then the others and it.
-- KEYS: replicas, wishes to reload
-- ARGV: name, what it says of itself, lifetime in microseconds
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
