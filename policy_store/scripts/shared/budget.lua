-- Whether everything that may be counted before the last look was counted. Other generations have no such budget:
-- what is counted between the end of theirs and the decision does no harm.
local function is_spent(counts, budget)
  return budget and tonumber(redis.call('HGET', counts, 'comparisons') or '0') >= tonumber(budget)
end
