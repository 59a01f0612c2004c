-- NEEDS: numbers, trials, COUNTING_STATES, CERTIFIED_STATES, CHAMPION_STATES, INITIAL_STATE
local function forget_trials(control, of)
  if redis.call('HDEL', control, of .. 'tried_since') == 1 then
    redis.call('HDEL', control, unpack(trial_fields(of, redis.call('HGET', control, of .. 'policies'))))
  end
end

-- Who answered ordinary traffic before the champion that does now. Versions before kept it in the certificate only.
local function previous_of(control, of)
  local found = redis.call('HMGET', control, of .. 'previous', of .. 'certificate')
  return found[1] or text(cjson.decode(found[2]).incumbent)
end

-- Whether a move takes a promotion back where there was none: the incumbent itself was certified.
local function lacks_promotion(control, of, move)
  return move.installs == 'previous' and CHAMPION_STATES[redis.call('HGET', control, of .. 'state')]
    and previous_of(control, of) == redis.call('HGET', control, of .. 'incumbent')
end

-- Whether guardrails found worse the policy that a move would promote.
local function is_found_worse(control, of, move, champion)
  local guards = move.installs == 'champion' and redis.call('HGET', control, 'guards')
  if not guards or guards == '' then
    return false
  end
  local policy = cjson.decode(redis.call('HGET', control, of .. 'experiment')).policy_fingerprints[champion + 1]
  for _, trip in ipairs(cjson.decode(guards).trips) do
    if trip.policy == policy then
      return true
    end
  end
  return false
end

-- Whether a certificate is about replacing another policy than the one that serves: the file may have named another
-- incumbent after the evidence was read.
local function is_of_another_incumbent(control, of, certificate)
  local replaced = certificate and certificate ~= '' and cjson.decode(certificate).incumbent
  return replaced and text(replaced) ~= redis.call('HGET', control, of .. 'incumbent')
end

-- The reply to a planner that was overtaken, or whose move does not start from the present state; or nil.
local function planner_refused(control, generation, fence, move)
  local known = redis.call('HMGET', control, generation .. ':state', 'generation', 'fence')
  if known[3] ~= fence then
    return {'stale', known[3]}
  end
  if not move.sources[known[1]] or known[2] ~= generation then
    return {'conflict', known[1], known[2]}
  end
  return nil
end

-- Ends the watch over a promotion, if there is one under way: nothing more is counted in its run.
local function end_watch(control, of, target, verdict)
  local run = redis.call('HGET', control, of .. 'watch')
  if run and redis.call('HGET', control, run .. ':state') == INITIAL_STATE then
    redis.call('HSET', control, run .. ':state', target)
    if verdict ~= '' then
      redis.call('HSET', control, run .. ':verdict', verdict)
    end
  end
end

-- Makes an allowed move: state, incumbent and certificate change in one step. If nothing counts any more, held
-- reports are dropped. Returns the policy that answered ordinary traffic before, and the one that does now.
local function make_move(control, held, generation, move, champion, certificate, verdict)
  local of = generation .. ':'
  local before = redis.call('HGET', control, of .. 'incumbent')
  local after = before
  if move.installs == 'champion' then
    after = champion
  elseif move.installs == 'previous' then
    after = previous_of(control, of)
  end

  end_watch(control, of, move.target, verdict)
  redis.call('HSET', control, of .. 'state', move.target, of .. 'incumbent', after)
  if move.installs == 'champion' then
    redis.call('HSET', control, of .. 'previous', before)
    redis.call('HDEL', control, of .. 'watch')
  end
  if move.certifies then
    redis.call('HSET', control, of .. 'certificate', certificate)
  elseif not CERTIFIED_STATES[move.target] then
    redis.call('HDEL', control, of .. 'certificate')
  end
  if move.target == INITIAL_STATE then
    forget_trials(control, of) -- whatever failed before may have been mended
  end
  redis.call('HINCRBY', control, 'revision', 1)
  if not COUNTING_STATES[move.target] then
    redis.call('DEL', held)
  end
  return before, after
end

-- What the log says of a move that someone gives a reason for. `said` has who, why and the generation.
local function by_hand(said, state, move, before, after)
  said.before, said.after = state, move.target
  said.incumbent_before, said.incumbent = tonumber(before), tonumber(after)
  return cjson.encode(said)
end
