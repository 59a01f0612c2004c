-- NEEDS: numbers, clock
-- Notes how a user rated an answer, until it is known what is found of it.
-- KEYS: what is known of the answer, rated answers by when that is
-- ARGV: what stands for the answer, 'good' or 'bad', when that is in microseconds, milliseconds to keep it from then on
local digest, word, due, keep_ms = unpack(ARGV)
local kept_ms = text(math.max(0, math.ceil((due - micros()) / 1000)) + keep_ms)
redis.call('HSET', KEYS[1], 'rated', word)
redis.call('ZADD', KEYS[2], due, digest)
for _, key in ipairs(KEYS) do
  if redis.call('PTTL', key) < tonumber(kept_ms) then
    redis.call('PEXPIRE', key, kept_ms)
  end
end
return {'ok'}
