-- NEEDS: events, EVENTS
-- Notes which builds of its model served a policy: digests of what the provider said it is.

local USUAL = 20 -- comparisons that each build had on average before another one is a change
local MOST = 32 -- builds counted by themselves, of one policy

-- Behind one name several builds may serve in turn. So a build is a change only if those before had many comparisons:
-- one that serves a fair share of the requests would have been among them. Of builds beyond the first, which are not
-- counted by themselves, it is not known whether they served before, so they are no change.
local function note_build(keys, generation, policy, build, number, at)
  local field = 'served:' .. policy .. ':' .. build
  local before = redis.call('HINCRBY', keys.counts, 'served:' .. policy, 1) - 1
  if redis.call('HINCRBY', keys.counts, field, 1) > 1 then
    return
  end
  local builds = redis.call('HINCRBY', keys.counts, 'builds:' .. policy, 1) - 1
  if builds >= MOST then
    redis.call('HDEL', keys.counts, field)
    return
  end
  if builds == 0 or before < USUAL * builds then
    return
  end
  local of = redis.call('HGET', keys.control, generation .. ':watch_of') or generation
  redis.call('HSET', keys.counts, 'changed_at:' .. policy, number)
  redis.call('HINCRBY', keys.counts, 'changes:' .. policy, 1)
  append_event(keys.log, keys.events, at, EVENTS.SERVED_CHANGED, cjson.encode({
    comparison = tonumber(number), generation = tonumber(of), policy = tonumber(policy), build = build}))
end

-- Notes the builds of both policies of a comparison; each is '' where it is not known.
local function note_builds(keys, generation, policies, served, number, at)
  local of_first, of_second = string.match(served, '^([^,]*),(.*)$')
  for side, build in ipairs({of_first, of_second}) do
    if build ~= '' then
      note_build(keys, generation, policies[side], build, number, at)
    end
  end
end
