-- A session's assignment: the first proposal ever made for it in its generation; its time is never extended. A
-- session that began under another generation gets none; the reply names the policy that it began with.
-- KEYS: the assignment, the beginning of the session
-- ARGV: generation, proposal ('' for none), fingerprint of the policy it leads to, seconds to remember it
local generation, proposal, policy, seconds = unpack(ARGV)
local assigned, began = redis.call('GET', KEYS[1]), redis.call('GET', KEYS[2])
local policy_then = began and string.match(began, ' (.+)$') or ''
if assigned then
  return {'ok', assigned, policy_then}
end
if policy_then ~= '' and string.match(began, '^%d+') ~= generation then
  return {'ok', '', policy_then}
end
if proposal == '' then
  return {'ok', '', ''}
end
redis.call('SET', KEYS[1], proposal, 'EX', seconds)
redis.call('SET', KEYS[2], generation .. ' ' .. policy, 'EX', seconds)
return {'ok', proposal, policy}
