-- NEEDS: numbers
-- Adds to the counts of pairs that guardrails compare. The same addition of a sender again changes nothing.
-- Hours are those of the server's clock: senders' clocks differ.
-- KEYS: guards, number of the sender's last addition
-- ARGV: number of the addition, then what is counted, pair of numbers and amount of each
local number = ARGV[1]
if redis.call('GET', KEYS[2]) == number then
  return {'ok'}
end
local hour, begun = text(math.floor(redis.call('TIME')[1] / 3600)), nil
for position = 2, #ARGV, 3 do
  local about, pair, amount = ARGV[position], ARGV[position + 1], ARGV[position + 2]
  if about ~= begun then
    redis.call('HSETNX', KEYS[1], about .. ':first', hour)
    begun = about
  end
  redis.call('HINCRBY', KEYS[1], about .. ':0:' .. pair, amount)
  redis.call('HINCRBY', KEYS[1], about .. ':' .. hour .. ':' .. pair, amount)
end
redis.call('SET', KEYS[2], number, 'EX', 86400)
return {'ok'}
