-- NEEDS: numbers
-- The forecasts of the current plan, and how each goes on with the outcomes counted under it.
-- Every digit has to be that of gateway/llm_po/betting.py, so only comparisons and the four operations are used.

local MILLION, NANO = 1000000, 1000000000
local LOWEST, HIGHEST = 20000, 980000
local TWOS = {{32, 4294967296}, {16, 65536}, {8, 256}, {4, 16}, {2, 4}, {1, 2}}
local LOG_2 = 0.6931471805599453

local function natural_log(x)
  local twos = 0
  for _, step in ipairs(TWOS) do
    local exponent, power = step[1], step[2]
    if x < 1.5 / power then
      x, twos = x * power, twos - exponent
    elseif x >= 0.75 * power then
      x, twos = x * (1 / power), twos + exponent
    end
  end
  local z = (x - 1) / (x + 1)
  local square, total = z * z, 1 / 23
  for odd = 21, 1, -2 do
    total = total * square + 1 / odd
  end
  return twos * LOG_2 + 2 * z * total
end

local function gone_on(published, weight, preferred, other)
  local moved = math.floor((published * weight + MILLION * preferred) / (weight + preferred + other))
  return math.min(math.max(moved, LOWEST), HIGHEST)
end

-- What an outcome adds to the evidence against "preferred with probability of at least the threshold": if preferred,
-- and if not. It is text, as add_evidence needs it.
local function bet(forecast, threshold)
  local q = forecast / MILLION
  if q >= threshold then
    return '0', '0'
  end
  return text(math.floor(natural_log(q / threshold) * NANO)),
    text(math.floor(natural_log((1 - q) / (1 - threshold)) * NANO))
end

local function words_of(said)
  local words = {}
  for word in string.gmatch(said or '', '[^,]+') do
    words[#words + 1] = word
  end
  return words
end

-- The forecasts of a pair for its next comparison: the plan's version, the forecast of the bet against first and what
-- the outcome adds, as published; then, where they go on, the forecast of the bet against second. Nil without a plan.
local function forecast_of(forecasts, pair)
  local found = redis.call('HMGET', forecasts, 'version', pair, pair .. ':on', pair .. ':won', pair .. ':lost')
  if not found[2] then
    return nil
  end
  local increments = words_of(found[2])
  local forecast = table.remove(increments, 1)
  if not found[3] then
    return found[1], forecast, increments
  end
  local second, weight, second_weight, threshold, half = unpack(words_of(found[3]))
  local won, lost = tonumber(found[4] or 0), tonumber(found[5] or 0)
  if won + lost == 0 then
    return found[1], forecast, increments, second
  end
  local own = gone_on(tonumber(forecast), tonumber(weight), won, lost)
  local rival = gone_on(tonumber(second), tonumber(second_weight), lost, won)
  increments = {}
  for _, level in ipairs({threshold, half}) do
    local preferred, other = bet(own, tonumber(level))
    local rival_preferred, rival_other = bet(rival, tonumber(level))
    for _, amount in ipairs({preferred, other, rival_other, rival_preferred}) do
      increments[#increments + 1] = amount
    end
  end
  return found[1], text(own), increments, text(rival)
end

-- Lets the forecasts of a pair go on from one more decisive outcome.
local function go_on(forecasts, pair, result)
  redis.call('HINCRBY', forecasts, pair .. (result == 'win' and ':won' or ':lost'), 1)
end
