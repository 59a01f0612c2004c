-- Adds to the measured answers and tokens.
-- KEYS: usage
-- ARGV: field and amount of each
for position = 1, #ARGV, 2 do
  redis.call('HINCRBY', KEYS[1], ARGV[position], ARGV[position + 1])
end
return {'ok'}
