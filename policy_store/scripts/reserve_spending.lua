-- NEEDS: numbers, clock
-- Sets money aside for a judge, as far as the day's limit allows. A new day begins with nothing spent.
-- What the limit does not pay for is counted as dropped, and noted with its amount and day.
-- KEYS: judging
-- ARGV: generation; amount, most a day, both in billionths of a dollar
local day = text(math.floor(tonumber(micros()) / 86400000000))
local kept = redis.call('HMGET', KEYS[1], 'day', 'spent')
local spent = kept[1] == day and tonumber(kept[2]) or 0
if spent + tonumber(ARGV[2]) > tonumber(ARGV[3]) then
  redis.call('HSET', KEYS[1], 'refused_day', day, 'refused', ARGV[2])
  redis.call('HINCRBY', KEYS[1], ARGV[1] .. ':dropped', 1)
  return {'spent'}
end
redis.call('HSET', KEYS[1], 'day', day, 'spent', text(spent + tonumber(ARGV[2])))
return {'ok', day}
