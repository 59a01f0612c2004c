-- NEEDS: numbers, clock
-- Sets money aside for a judge, as far as the day's limit allows. A new day begins with nothing spent.
-- KEYS: judging
-- ARGV: amount, most a day; both in billionths of a dollar
local day = text(math.floor(tonumber(micros()) / 86400000000))
local kept = redis.call('HMGET', KEYS[1], 'day', 'spent')
local spent = kept[1] == day and tonumber(kept[2]) or 0
if spent + tonumber(ARGV[1]) > tonumber(ARGV[2]) then
  return {'spent'}
end
redis.call('HSET', KEYS[1], 'day', day, 'spent', text(spent + tonumber(ARGV[1])))
return {'ok', day}
