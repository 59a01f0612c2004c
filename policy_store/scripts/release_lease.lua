-- Gives back the right to plan, if the caller still has it.
-- KEYS: lease
-- ARGV: holder
if redis.call('GET', KEYS[1]) == ARGV[1] then
  redis.call('DEL', KEYS[1])
end
return {'ok'}
