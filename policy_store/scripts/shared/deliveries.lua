-- NEEDS: numbers
-- Messages that a webhook's receiver has not accepted. Each is in one of two sorted sets: `due`, by the time of its
-- next attempt, or `dead`, by the time it was given up. `messages` holds the body of each, the time it was taken up,
-- the number of attempts and the reason of the last failure.

local FIELDS = {':body', ':at', ':attempts', ':reason'}

local function forget_message(keys, id)
  for _, field in ipairs(FIELDS) do
    redis.call('HDEL', keys.messages, id .. field)
  end
end

-- Gives a message up. Only the latest dead letters are kept.
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
