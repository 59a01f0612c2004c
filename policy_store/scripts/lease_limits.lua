-- NEEDS: numbers
-- One accounting step of one process for one API key: takes back what it did not use, records what it used
-- beyond its leases, and leases it more, all by the server's clock.
-- Usage is kept by second. A second counts until 62 seconds after its beginning: an amount leased in it may be used
-- until a second after its end (leases last one second) and has to count for a minute from then on.
--
-- KEYS: requests, tokens, holders
-- ARGV: holder, milliseconds it may keep requests in progress without asking again,
--       limit, least, wanted and needed now of requests; the same of tokens; limit and wanted of requests in progress;
--       tokens used beyond leases; then kind (1 requests, 2 tokens), second and amount of each thing returned
-- A limit of 0 means no limit.
local COUNTED_SECONDS = 62

local time = redis.call('TIME')
local now = tonumber(time[1])
local now_ms = now * 1000 + math.floor(tonumber(time[2]) / 1000)

local function give_back(key, second, amount)
  if redis.call('HEXISTS', key, second) == 1 and redis.call('HINCRBY', key, second, -amount) <= 0 then
    redis.call('HDEL', key, second)
  end
end

local function spend(key, amount)
  if amount > 0 then
    redis.call('HINCRBY', key, time[1], text(amount))
    redis.call('EXPIRE', key, COUNTED_SECONDS + 1)
  end
end

-- The seconds that still count, oldest first, and the sum of their usage.
local function usage(key)
  local seconds, total = {}, 0
  local fields = redis.call('HGETALL', key)
  for index = 1, #fields, 2 do
    local second, amount = tonumber(fields[index]), tonumber(fields[index + 1])
    if second + COUNTED_SECONDS <= now then
      redis.call('HDEL', key, fields[index])
    else
      seconds[#seconds + 1] = {second, amount}
      total = total + amount
    end
  end
  table.sort(seconds, function(a, b) return a[1] < b[1] end)
  return seconds, total
end

local function milliseconds_until_gone(second)
  return math.max(0, (second + COUNTED_SECONDS) * 1000 - now_ms)
end

-- Leases up to `wanted`, at least `least` or nothing. The amount beyond the present need may be at most an eighth
-- of the rest, so that little is unused in one process while another is refused.
-- Returns what was leased, what is left, milliseconds until `least` fits, milliseconds until nothing counts.
local function lease(key, limit, least, wanted, needed)
  if limit == 0 then
    return {'0', '0', '0', '0'}
  end
  local seconds, total = usage(key)
  local left = limit - total
  local leased = 0
  if wanted > 0 and left >= least then
    leased = math.min(wanted, left, needed + math.floor(math.max(0, left - needed) / 8))
    spend(key, leased)
    left = left - leased
  end
  local wait, free = 0, left
  for _, each in ipairs(seconds) do
    if free >= least then break end
    free = free + each[2]
    wait = milliseconds_until_gone(each[1])
  end
  if free < least and leased > 0 then
    wait = milliseconds_until_gone(now)
  end
  local last = leased > 0 and now or (#seconds > 0 and seconds[#seconds][1])
  return {text(leased), text(left), text(wait), text(last and milliseconds_until_gone(last) or 0)}
end

-- Lets the holder have this many requests in progress, or as many as the others leave. Returns how many.
local function hold(key, holder, keep_ms, limit, wanted)
  if limit == 0 then
    return '0'
  end
  local others = 0
  local fields = redis.call('HGETALL', key)
  for index = 1, #fields, 2 do
    local requests, until_ms = string.match(fields[index + 1], '(%d+) (%d+)')
    if tonumber(until_ms) <= now_ms then
      redis.call('HDEL', key, fields[index])
    elseif fields[index] ~= holder then
      others = others + tonumber(requests)
    end
  end
  local held = math.max(0, math.min(wanted, limit - others))
  if held == 0 then
    redis.call('HDEL', key, holder)
  else
    redis.call('HSET', key, holder, text(held) .. ' ' .. text(now_ms + keep_ms))
    redis.call('PEXPIRE', key, text(keep_ms))
  end
  return text(held)
end

local holder = ARGV[1]
local n = {}
for index = 2, #ARGV do
  n[index] = tonumber(ARGV[index])
end
for index = 14, #ARGV, 3 do
  give_back(KEYS[n[index]], ARGV[index + 1], ARGV[index + 2])
end
spend(KEYS[2], n[13])
return {
  'ok',
  time[1],
  lease(KEYS[1], n[3], n[4], n[5], n[6]),
  lease(KEYS[2], n[7], n[8], n[9], n[10]),
  hold(KEYS[3], holder, n[2], n[11], n[12]),
}
