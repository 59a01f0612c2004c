-- Adds ratings to the numbers, by what was found of the rated answers, and forgets them. A rating that another replica
-- has added already is not there any more.
-- KEYS: rated answers, numbers of ratings, then what is known of each of these answers
-- ARGV: what stands for each of them
for position, digest in ipairs(ARGV) do
  if redis.call('ZREM', KEYS[1], digest) == 1 then
    local found, rated = unpack(redis.call('HMGET', KEYS[position + 2], 'found', 'rated'))
    if rated then
      redis.call('HINCRBY', KEYS[2], (found or 'unknown') .. ':' .. rated, 1)
    end
    redis.call('DEL', KEYS[position + 2])
  end
end
return {'ok'}
