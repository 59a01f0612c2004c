-- NEEDS: putting
-- Writes a part of a key under a name that nothing reads, and that expires unless `restore_experiment` renames it.
-- KEYS: the key under that name
-- ARGV: kind, milliseconds to keep it; then what it holds
PUT[ARGV[1]](KEYS[1], {unpack(ARGV, 3)})
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return {'ok'}
