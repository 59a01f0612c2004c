-- NEEDS: numbers, COUNTING_STATES, CERTIFIED_STATES
-- Makes a move that is allowed: state, incumbent and certificate change in one step. Reports held until then are
-- dropped where nothing counts any more. Returns who answered ordinary traffic before, and who does now.
local function make_move(control, held, generation, move, champion, certificate)
  local of = generation .. ':'
  local found = redis.call('HMGET', control, of .. 'incumbent', of .. 'previous', of .. 'certificate')
  local before, after = found[1], found[1]
  if move.installs == 'champion' then
    after = champion
  elseif move.installs == 'previous' then
    -- Versions before this one left it in the certificate only.
    after = found[2] or text(cjson.decode(found[3]).incumbent)
  end

  redis.call('HSET', control, of .. 'state', move.target, of .. 'incumbent', after)
  if move.installs == 'champion' then
    redis.call('HSET', control, of .. 'previous', before)
  end
  if move.certifies then
    redis.call('HSET', control, of .. 'certificate', certificate)
  elseif not CERTIFIED_STATES[move.target] then
    redis.call('HDEL', control, of .. 'certificate')
  end
  redis.call('HINCRBY', control, 'revision', 1)
  if not COUNTING_STATES[move.target] then
    redis.call('DEL', held)
  end
  return before, after
end

-- What the log says of a person's move. `said` has who, why and the generation.
local function by_hand(said, state, move, before, after)
  said.before, said.after = state, move.target
  said.incumbent_before, said.incumbent = tonumber(before), tonumber(after)
  return cjson.encode(said)
end
