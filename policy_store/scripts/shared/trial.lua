-- Tests whether a server accepts writes: makes each kind of write that the scripts make, on separate keys.
local function try_to_write(keys)
  local word, hash, list, stream, set, ranked = unpack(keys)
  redis.call('SET', word, '0', 'EX', 60)
  redis.call('DEL', word)
  redis.call('INCR', word)
  redis.call('EXPIRE', word, 60)
  redis.call('HSETNX', hash, 'a', '0')
  redis.call('HINCRBY', hash, 'b', 1)
  redis.call('HDEL', hash, 'a')
  redis.call('RPUSH', list, 'a', 'b')
  redis.call('LSET', list, -1, 'b')
  redis.call('LREM', list, -1, 'b')
  redis.call('LPOP', list)
  redis.call('XADD', stream, 'MAXLEN', 1, '*', 'a', 'b')
  redis.call('SADD', set, 'a')
  redis.call('ZADD', ranked, 1, 'a', 2, 'b')
  redis.call('ZREM', ranked, 'b')
  redis.call('ZREMRANGEBYRANK', ranked, 1, -1)
  for _, key in ipairs({hash, stream, set, ranked}) do
    redis.call('PEXPIRE', key, 60000)
  end
end
