-- NEEDS: numbers
-- Limits the votes that one voter may give on a pair and in the experiment, and one API key on a pair. Voters and
-- keys are digests, '' if unknown.

local FREE_VOTES = 10 -- votes of a key that are allowed whatever other keys gave

local function amount(votes, field)
  return tonumber(redis.call('HGET', votes, field) or '0')
end

-- The reply to a vote whose voter has given all votes allowed on the pair, or in the experiment; or nil.
local function over_voter_cap(votes, pair, vote)
  if vote.voter == '' then
    return nil
  end
  if vote.on_pair > 0 and amount(votes, pair .. ':voter:' .. vote.voter) >= vote.on_pair then
    return {'over_cap', 'voter_cap'}
  end
  if vote.in_all > 0 and amount(votes, 'voter:' .. vote.voter) >= vote.in_all then
    return {'over_cap', 'voter_cap_per_experiment'}
  end
  return nil
end

-- Counts a vote for the caps of its voter. A cap on pairs that the one in all makes idle needs no field.
local function note_vote(votes, pair, vote)
  if vote.voter == '' then
    return
  end
  if vote.in_all > 0 then
    redis.call('HINCRBY', votes, 'voter:' .. vote.voter, 1)
  end
  if vote.in_all == 0 or vote.on_pair < vote.in_all then
    redis.call('HINCRBY', votes, pair .. ':voter:' .. vote.voter, 1)
  end
end

-- The reply to a vote that its voter or its key may not give any more; or nil, and the vote is recorded.
-- Votes beyond the share of their key are counted, because much of them starves the experiment.
local function over_cap(votes, counts, pair, vote)
  local refused = over_voter_cap(votes, pair, vote)
  if refused then
    return refused
  end
  local own, all = amount(votes, pair .. ':key:' .. vote.key), amount(votes, pair .. ':votes')
  if vote.key ~= '' and vote.key_share < 1 and own >= FREE_VOTES and own + 1 > vote.key_share * (all + 1) then
    redis.call('HINCRBY', counts, 'over_key_share', 1)
    return {'over_cap', 'key_share'}
  end
  -- This is the first write, because a server out of memory refuses the first one and so the whole script.
  redis.call('HINCRBY', votes, pair .. ':votes', 1)
  if vote.key ~= '' then
    redis.call('HINCRBY', votes, pair .. ':key:' .. vote.key, 1)
  end
  note_vote(votes, pair, vote)
  return nil
end

-- Notes the voters of a comparison: how many different voters there are, and the most votes of one of them.
local function note_voters(votes, counts, voters)
  for _, voter in ipairs(voters) do
    local given = voter == '' and 1 or redis.call('HINCRBY', votes, 'compared:' .. voter, 1)
    redis.call('HINCRBY', counts, 'votes', 1)
    if given == 1 then
      redis.call('HINCRBY', counts, 'voters', 1)
    end
    if given > tonumber(redis.call('HGET', counts, 'largest_voter') or '0') then
      redis.call('HSET', counts, 'largest_voter', text(given))
    end
  end
end

-- Notes that a unit was reported, by how the coin fell that chose its side: `kind:side`.
local function note_side(counts, pair, drawn)
  if drawn ~= '' then
    redis.call('HINCRBY', counts, 'side:' .. pair .. ':' .. drawn, 1)
  end
end

-- `caps` is the cap on a pair, or with a slash between them that one and the one in all; 0 for none.
local function vote_of(arguments, start)
  local voter, key, caps, key_share = unpack(arguments, start, start + 3)
  local on_pair, in_all = string.match(caps, '^(%d+)/?(%d*)$')
  return {voter = voter, key = key, on_pair = tonumber(on_pair), in_all = tonumber(in_all) or 0,
    key_share = tonumber(key_share)}
end
