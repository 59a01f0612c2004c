-- Records that a question is asked: for the first time, again to get another answer, or again because the answer
-- got lost. If the last answer was complete, the user wants another one, unless the caller marks a repetition.
-- KEYS: each name of the question, then each name of the question answered before it
-- ARGV: number of names of the question, generation, comparison to begin ('' for none), name of the attempt,
--       1 for a retry, milliseconds to remember it, and those from the second time on
local names, generation, proposal, attempt, retry, within, window = unpack(ARGV)

local function found(from, to)
  for place = from, to do
    if redis.call('HGET', KEYS[place], 'generation') == generation then
      return place
    end
  end
end

local function known(place, from)
  if not place then
    return -1, '', 0, '', '', '', ''
  end
  local said = redis.call('HMGET', KEYS[place], 'comparison', 'asks', 'answer1', 'answer2', 'build1', 'build2')
  return place - from, said[1], tonumber(said[2]), said[3] or '', said[4] or '', said[5] or '', said[6] or ''
end

local asked = found(1, tonumber(names))
if asked then
  local key = KEYS[asked]
  local asks, done, before = unpack(redis.call('HMGET', key, 'asks', 'done', 'attempt'))
  local repeats = retry == '1' or (attempt ~= '' and attempt == before)
  if done == asks and not repeats then
    redis.call('HSET', key, 'asks', asks + 1, 'attempt', attempt)
    if asks == '1' then
      redis.call('PEXPIRE', key, window)
    end
  end
elseif proposal ~= '' then
  redis.call('DEL', KEYS[1])
  redis.call('HSET', KEYS[1], 'generation', generation, 'comparison', proposal, 'asks', 1, 'attempt', attempt)
  redis.call('PEXPIRE', KEYS[1], within)
  asked = 1
end
local answered = found(names + 1, #KEYS)
local reply = {'ok', known(asked, 1)}
for _, each in ipairs({known(answered, names + 1)}) do
  reply[#reply + 1] = each
end
return reply
