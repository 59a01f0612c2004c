-- NEEDS: numbers
-- Corrects what was set aside for a judge to what it cost, and adds to what is counted of its verdicts.
-- The account of a day that is over is closed.
-- KEYS: judging
-- ARGV: the day; what it cost beyond what was set aside, in billionths of a dollar; field and amount of each count
local kept = redis.call('HMGET', KEYS[1], 'day', 'spent')
if kept[1] == ARGV[1] then
  redis.call('HSET', KEYS[1], 'spent', text(tonumber(kept[2]) + tonumber(ARGV[2])))
end
for position = 3, #ARGV, 2 do
  redis.call('HINCRBY', KEYS[1], ARGV[position], ARGV[position + 1])
end
return {'ok'}
