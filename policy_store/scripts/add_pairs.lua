-- Adds to the counts of pairs that guardrails compare. The same addition of a sender again changes nothing.
-- KEYS: guards, number of the sender's last addition
-- ARGV: number of the addition, hour, how many fields note the first hour, these fields, then field and amount of each
local number, hour, firsts = unpack(ARGV, 1, 3)
if redis.call('GET', KEYS[2]) == number then
  return {'ok'}
end
for position = 4, 3 + firsts do
  redis.call('HSETNX', KEYS[1], ARGV[position], hour)
end
for position = 4 + firsts, #ARGV, 2 do
  redis.call('HINCRBY', KEYS[1], ARGV[position], ARGV[position + 1])
end
redis.call('SET', KEYS[2], number, 'EX', 86400)
return {'ok'}
