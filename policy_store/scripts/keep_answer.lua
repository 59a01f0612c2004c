-- An answer to a question is complete. A question that is forgotten, or was begun anew, stays as it is.
-- KEYS: the question
-- ARGV: comparison it was asked for, which asking was answered, sketch ('' where it belongs to no comparison)
local comparison, ask, sketch = unpack(ARGV)
if redis.call('HGET', KEYS[1], 'comparison') == comparison then
  redis.call('HSET', KEYS[1], 'done', ask)
  if ask == '1' or ask == '2' then
    redis.call('HSET', KEYS[1], 'answer' .. ask, sketch)
  end
end
return {'ok'}
