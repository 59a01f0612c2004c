-- Renews the right to plan each of several experiments, where the caller has it.
-- KEYS: leases
-- ARGV: holder, milliseconds
for _, lease in ipairs(KEYS) do
  if redis.call('GET', lease) == ARGV[1] then
    redis.call('PEXPIRE', lease, ARGV[2])
  end
end
return {'ok'}
