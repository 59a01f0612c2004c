-- Makes the generation of a fingerprint the current one, starting it if it is new.
-- KEYS: control, events, log of the generation the caller expects
-- ARGV: fingerprint, expected generation, experiment, policies, incumbent, elimination threshold
local control = KEYS[1]
local fingerprint, expected, experiment, policies, incumbent, threshold = unpack(ARGV)

-- Who serves first: the file's incumbent, but a promoted policy stays where it is still in the file, unchanged,
-- and the file names the same incumbent as before. A new candidate must not undo a promotion.
local function first_incumbent()
  local of = (redis.call('HGET', control, 'generation') or '') .. ':'
  local before = redis.call('HMGET', control, of .. 'experiment', of .. 'incumbent')
  if not before[1] then
    return incumbent
  end
  local old, new = cjson.decode(before[1]), cjson.decode(experiment)
  if old.policies[old.incumbent + 1] ~= new.policies[new.incumbent + 1] then
    return incumbent
  end
  local serving = before[2] + 1
  for index, name in ipairs(new.policies) do
    if name == old.policies[serving] and new.policy_fingerprints[index] == old.policy_fingerprints[serving] then
      return text(index - 1)
    end
  end
  return incumbent
end

local known = redis.call('HGET', control, 'fingerprint:' .. fingerprint)
local generation = known or text((redis.call('HGET', control, 'generations') or 0) + 1)
if generation ~= expected then
  return {'raced', generation}
end

local at = micros()
if not known then
  local of = generation .. ':'
  redis.call('HSET', control, 'generations', generation, 'fingerprint:' .. fingerprint, generation,
    of .. 'experiment', experiment, of .. 'state', 'running', of .. 'incumbent', first_incumbent(),
    of .. 'policies', policies, of .. 'threshold', threshold, of .. 'started_at', at)
end
if redis.call('HGET', control, 'generation') ~= generation then
  redis.call('HSET', control, 'generation', generation)
  redis.call('HINCRBY', control, 'revision', 1)
  append_event(KEYS[3], KEYS[2], at, known and 'reactivated' or 'started', '{"generation":' .. generation .. '}')
end
return view(control)
