-- NEEDS: numbers
-- What a webhook was not told yet. Each message is in one of two sorted sets: `due`, by when it is sent next, and
-- `dead`, by when it was given up. `messages` holds for each its body, when it was taken up, how often it was sent
-- and why the last time failed.

local FIELDS = {':body', ':at', ':attempts', ':reason'}

local function forget_message(keys, id)
  for _, field in ipairs(FIELDS) do
    redis.call('HDEL', keys.messages, id .. field)
  end
end

-- Gives a message up. Of those given up the latest are kept.
local function give_up(keys, id, at, reason, most)
  redis.call('ZREM', keys.due, id)
  redis.call('HSET', keys.messages, id .. ':reason', reason)
  redis.call('ZADD', keys.dead, at, id)
  while redis.call('ZCARD', keys.dead) > most do
    forget_message(keys, redis.call('ZRANGE', keys.dead, 0, 0)[1])
    redis.call('ZREMRANGEBYRANK', keys.dead, 0, 0)
    redis.call('HINCRBY', keys.control, 'forgotten', 1)
  end
end

local function delivery_keys(keys)
  return {control = keys[1], due = keys[2], messages = keys[3], dead = keys[4]}
end
