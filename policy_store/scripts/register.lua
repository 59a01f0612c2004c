-- NEEDS: numbers, clock, events, view, moving, putting, MOVES, EVENTS, INITIAL_STATE, CONTINUED_STATES, CHAMPION_STATES, KEPT_STATES
-- Makes the generation of a fingerprint the current one. Starts a new one if there is none yet, or if it was decided
-- for another policy than the one that is to serve. A new one continues from the current one if that is undecided,
-- with the counts between the policies that both have, and keeps its state if that state is kept. What only informed
-- the current one goes on informing, decided or not.
-- KEYS: control, events; log and counts of the generation the caller expects, counts of the one it expects
--       before it, look of the one it expects, votes of both; then for each role in which comparisons may only
--       inform, log and counts of the one it expects, counts of the one before
-- ARGV: fingerprint, expected generation, experiment, policies, incumbent, elimination threshold, expected
--       generation before it ('' for none), the budget, secret and commitment of a new generation's last look ('' for
--       none), '1' if evidence means the same in both; then, if enough policies are the same in both, for each policy
--       its index there ('' for a newcomer)
local control = KEYS[1]
local fingerprint, expected, experiment, policies, incumbent, threshold, expected_before = unpack(ARGV, 1, 7)
local budget, secret, commitment, is_same_evidence = unpack(ARGV, 8, 11)
local sources = {unpack(ARGV, 12)}

-- The policy that is to serve, and the policy that the file names. The latter serves if the last registration named
-- another one. Otherwise the policy that serves now continues, if it is still in the file and unchanged. So an edit
-- of the file promotes only the policy that it names, and never undoes a promotion. Earlier versions did not store
-- the named policy; they used it only when a generation began.
local function to_serve()
  local of = (redis.call('HGET', control, 'generation') or '') .. ':'
  local before = redis.call('HMGET', control, of .. 'experiment', of .. 'incumbent')
  local new = cjson.decode(experiment)
  local named = new.policies[new.incumbent + 1]
  if not before[1] then
    return incumbent, named
  end
  local old = cjson.decode(before[1])
  if named ~= (redis.call('HGET', control, 'named') or old.policies[old.incumbent + 1]) then
    return incumbent, named
  end
  local serving = before[2] + 1
  for index, name in ipairs(new.policies) do
    if name == old.policies[serving] and new.policy_fingerprints[index] == old.policy_fingerprints[serving] then
      return text(index - 1), named
    end
  end
  return incumbent, named
end

-- Whether a generation was decided for another policy than the one that is to serve. It cannot become current,
-- because users would not get the policy that its certificate names.
local function is_decided_otherwise(number, serving)
  local found = redis.call('HMGET', control, number .. ':state', number .. ':incumbent')
  return CHAMPION_STATES[found[1]] and found[2] ~= serving
end

-- The current generation, its definition (which never changes), and whether the evidence of a new one may continue
-- from it: if it is undecided, and its last look was not taken. (Its evidence had its chance at the lower line.)
local function left_behind()
  local current = redis.call('HGET', control, 'generation')
  if not current then
    return '', '', false
  end
  local about = redis.call('HMGET', control, current .. ':state', current .. ':experiment', current .. ':look')
  return current, about[2], CONTINUED_STATES[about[1]] and not about[3]
end

-- Adds to two fields of new counts. Amounts stay text, see add_evidence.
local function add(counts, field, total, amount)
  if amount then
    redis.call('HINCRBY', counts, field, amount)
    redis.call('HINCRBY', counts, total, amount)
  end
end

-- The lower of two amounts, compared as text: a Lua number is exact only to 2^53.
local function lower(one, other)
  local is_negative = string.sub(one, 1, 1) == '-'
  if is_negative ~= (string.sub(other, 1, 1) == '-') then
    return is_negative and one or other
  end
  local is_smaller = #one < #other or #one == #other and one < other
  return is_smaller ~= is_negative and one or other
end

-- Copies the counts between kept policies. Of a removed rival's evidence only the part that lowers a row total stays,
-- as a debt; llm_po/succession.py computes the same and explains it. If the promise needs evidence at one half too,
-- the debt is the lower of both.
local function copy(counts, counted, place, old_policies)
  redis.call('HSET', counts, 'comparisons', '0')
  for old, new in pairs(place) do
    redis.call('HSET', counts, 'total:' .. new, '0')
    add(counts, 'debt:' .. new, 'total:' .. new, counted['debt:' .. old])
    for index = 0, old_policies - 1 do
      local rival = text(index)
      local evidence, at_half = counted['evidence:' .. old .. ':' .. rival], counted['half:' .. old .. ':' .. rival]
      local speaks = at_half and lower(evidence, at_half) or evidence
      if place[rival] then
        if at_half then
          redis.call('HINCRBY', counts, 'half:' .. new .. ':' .. place[rival], at_half)
        end
        add(counts, 'evidence:' .. new .. ':' .. place[rival], 'total:' .. new, evidence)
        add(counts, 'wins:' .. new .. ':' .. place[rival], 'comparisons', counted['wins:' .. old .. ':' .. rival])
        if tonumber(new) < tonumber(place[rival]) then
          local pair = tonumber(old) < index and old .. ':' .. rival or rival .. ':' .. old
          add(counts, 'ties:' .. new .. ':' .. place[rival], 'comparisons', counted['ties:' .. pair])
        end
      elseif speaks and string.sub(speaks, 1, 1) == '-' then
        add(counts, 'debt:' .. new, 'total:' .. new, speaks)
      end
    end
  end
end

-- An eliminated policy stays eliminated if policies were only added; after a removal the rest must reach the line.
local function eliminate(counts, counted, place, is_removal)
  for old, new in pairs(place) do
    local number = counted['eliminated:' .. old]
    if is_removal then
      local is_out = tonumber(redis.call('HGET', counts, 'total:' .. new)) >= tonumber(threshold)
      number = is_out and redis.call('HGET', counts, 'comparisons')
    end
    if number then
      redis.call('HSET', counts, 'eliminated:' .. new, number)
    end
  end
end

-- A hash as a table.
local function table_of(key)
  local found, flat = {}, redis.call('HGETALL', key)
  for position = 1, #flat, 2 do
    found[flat[position]] = flat[position + 1]
  end
  return found
end

-- Starts a ledger of the new generation with the counts of the one before. Returns how many comparisons it inherited,
-- if any were counted there.
local function inherit(log, counts, counted, place, old_policies, is_removal, before, ever, at)
  if not counted.comparisons then
    return
  end
  copy(counts, counted, place, old_policies)
  eliminate(counts, counted, place, is_removal)
  local written, fields = redis.call('HGETALL', counts), {}
  for position = 1, #written, 2 do
    fields[#fields + 1] = written[position] .. '=' .. written[position + 1]
  end
  redis.call('XADD', log, '*', 'type', 'inherited', 'generation', before, 'after', counted.comparisons,
    'sources', table.concat(sources, ','), 'policies_ever', ever, 'counts', table.concat(fields, ' '), 'at', at)
  return redis.call('HGET', counts, 'comparisons')
end

-- Where evidence goes on, a voter goes on having given the votes of the generation before, if the experiment caps them
-- in all. (Those on a pair are counted anew.)
local function copy_voters()
  if not string.find(experiment, 'voter_cap_per_experiment', 1, true) then
    return
  end
  local cursor = '0'
  repeat
    local found = redis.call('HSCAN', KEYS[8], cursor, 'MATCH', 'voter:*', 'COUNT', 1000)
    cursor = found[1]
    PUT.hash(KEYS[7], found[2]) -- of a packed hash the server hands out every field at once
  until cursor == '0'
end

-- Starts the ledgers of the new generation. Returns how many policies there have ever been, and how many comparisons
-- that are evidence were inherited, if any.
local function start_ledgers(before, may_continue, at)
  if #sources == 0 then
    return policies
  end
  local place, kept = {}, 0
  for index, source in ipairs(sources) do
    if source ~= '' then
      place[source] = text(index - 1)
      kept = kept + 1
    end
  end
  local about = redis.call('HMGET', control, before .. ':policies', before .. ':policies_ever')
  local old_policies, ever, inherited = tonumber(about[1]), policies, nil
  local function start(log, counts, counted)
    return inherit(log, counts, counted, place, old_policies, kept < old_policies, before, ever, at)
  end
  local counted = table_of(KEYS[5])
  if may_continue and is_same_evidence == '1' and counted.comparisons then
    ever = text((about[2] or about[1]) + #sources - kept)
    inherited = start(KEYS[3], KEYS[4], counted)
    copy_voters()
  end
  for key = 9, #KEYS, 3 do
    start(KEYS[key], KEYS[key + 1], table_of(KEYS[key + 2]))
  end
  return ever, inherited
end

-- An experiment that a person paused stays paused, whichever generation becomes current.
local function keep_standing(before, number, at)
  local state = redis.call('HGET', control, number .. ':state')
  for _, move in pairs(MOVES) do
    if move.target == before and KEPT_STATES[before] and move.sources[state] then
      local serves = make_move(control, nil, number, move, '', '', '')
      append_event(KEYS[3], KEYS[2], at, move.event, by_hand({
        actor = 'configuration', reason = 'The generation before was ' .. before .. '.',
        generation = tonumber(number)}, state, move, serves, serves))
    end
  end
end

local serving, named = to_serve()
local known = redis.call('HGET', control, 'fingerprint:' .. fingerprint)
if known and is_decided_otherwise(known, serving) then
  known = nil
end
local generation = known or text((redis.call('HGET', control, 'generations') or 0) + 1)
local before, experiment_before, may_continue = '', '', false
if not known then
  before, experiment_before, may_continue = left_behind()
end
if generation ~= expected or before ~= expected_before then
  return {'raced', generation, before, experiment_before}
end

local at, inherited = micros(), nil
if not known then
  local of = generation .. ':'
  redis.call('HSET', control, 'generations', generation, 'fingerprint:' .. fingerprint, generation,
    of .. 'experiment', experiment, of .. 'state', INITIAL_STATE, of .. 'incumbent', serving,
    of .. 'policies', policies, of .. 'threshold', threshold, of .. 'started_at', at)
  local ever
  ever, inherited = start_ledgers(before, may_continue, at)
  redis.call('HSET', control, of .. 'policies_ever', ever)
  if inherited then
    redis.call('HSET', control, of .. 'inherited', inherited, of .. 'inherited_from', before)
  end
end
local left = redis.call('HGET', control, 'generation')
if left ~= generation then
  redis.call('HSET', control, 'generation', generation)
  redis.call('HINCRBY', control, 'revision', 1)
  append_event(KEYS[3], KEYS[2], at, known and EVENTS.REACTIVATED or EVENTS.STARTED,
    cjson.encode({generation = tonumber(generation)}))
end
if not known and budget ~= '' then
  redis.call('SET', KEYS[6], secret)
  redis.call('HSET', control, generation .. ':budget', budget)
  append_event(KEYS[3], KEYS[2], at, EVENTS.LOOK_COMMITTED, cjson.encode({
    commitment = commitment, generation = tonumber(generation)}))
end
if redis.call('HGET', control, generation .. ':incumbent') ~= serving then
  redis.call('HSET', control, generation .. ':incumbent', serving)
  redis.call('HINCRBY', control, 'revision', 1)
  append_event(KEYS[3], KEYS[2], at, EVENTS.INCUMBENT_CHANGED, cjson.encode({
    policy = tonumber(serving), generation = tonumber(generation)}))
end
if left and left ~= generation then
  keep_standing(redis.call('HGET', control, left .. ':state'), generation, at)
end
redis.call('HSET', control, 'named', named)
if inherited then
  append_event(KEYS[3], KEYS[2], at, EVENTS.INHERITED, cjson.encode({
    comparisons = tonumber(inherited), from_generation = tonumber(before), generation = tonumber(generation)}))
end
return view(control)
