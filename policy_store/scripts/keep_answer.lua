-- Records that an answer to a question is complete. A question that was forgotten or begun anew stays unchanged.
-- KEYS: the question
-- ARGV: its comparison, number of the answered asking, sketch ('' if it belongs to no comparison), the build that served
local comparison, ask, sketch, build = unpack(ARGV)
if redis.call('HGET', KEYS[1], 'comparison') == comparison then
  redis.call('HSET', KEYS[1], 'done', ask)
  if ask == '1' or ask == '2' then
    redis.call('HSET', KEYS[1], 'answer' .. ask, sketch, 'build' .. ask, build)
  end
end
return {'ok'}
