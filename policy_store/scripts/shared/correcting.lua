-- NEEDS: clock, EVENTS
-- A voter's later word in place of an earlier one, as long as nothing was made of the earlier one. The log has both.

local MOST_REMEMBERED = 16 -- idempotency keys of a unit

-- What a unit said, and the idempotency keys it said it with.
local function remembered(unit_key)
  local kept = redis.call('GET', unit_key) or ''
  local said, keys = string.match(kept, '^([^\n]*)\n?(.*)$')
  return said, keys
end

-- Whether a report that contradicts an earlier one may take its place: true or false, or 'repeated' for one that
-- was sent again after it was replaced itself.
local function may_correct(refused, standing, unit_key, idempotency)
  if not refused or refused[1] ~= 'contradicting' or refused[3] == '' or standing ~= 'replace' then
    return false
  end
  local _, keys = remembered(unit_key)
  if idempotency ~= '' and string.find(keys, idempotency, 1, true) then
    return 'repeated'
  end
  return true
end

-- Keeps what a unit said. Where a later word may follow, the idempotency keys are kept beside it, the newest last, also
-- if this word has none: an earlier one may be sent again late.
local function remember(unit_key, said, standing, idempotency)
  local kept = said[2]
  local keys = {}
  if standing == 'replace' then
    local _, before = remembered(unit_key)
    for key in string.gmatch(before .. ' ' .. idempotency, '%S+') do
      keys[#keys + 1] = key
    end
  end
  if #keys > 0 then
    kept = kept .. '\n' .. table.concat(keys, ' ', math.max(1, #keys - MOST_REMEMBERED + 1))
  end
  redis.call('SET', unit_key, kept, 'EX', said[3])
end

local function note_correction(log, generation, unit, before, after)
  redis.call('XADD', log, '*', 'type', 'event', 'kind', EVENTS.CORRECTED, 'detail', cjson.encode({
    generation = tonumber(generation), unit = unit, before = before, after = after}), 'at', micros())
end
