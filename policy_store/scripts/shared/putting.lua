-- Writes a part of a key that a backup holds, after what the key has already.

local PUT = {
  string = function(key, items) redis.call('SET', key, items[1]) end,
  hash = function(key, items)
    for start = 1, #items, 1000 do -- unpack has a limit
      redis.call('HSET', key, unpack(items, start, math.min(start + 999, #items)))
    end
  end,
  list = function(key, items)
    for _, item in ipairs(items) do
      redis.call('RPUSH', key, item)
    end
  end,
  zset = function(key, items)
    for position = 1, #items, 2 do
      redis.call('ZADD', key, items[position + 1], items[position])
    end
  end,
  -- Of each entry: its id, how many words follow, and these.
  stream = function(key, items)
    local position = 1
    while position <= #items do
      local words = tonumber(items[position + 1])
      redis.call('XADD', key, items[position], unpack(items, position + 2, position + 1 + words))
      position = position + 2 + words
    end
  end,
}
