-- Remembers an answer that the next request may go on from. Until one does, it is as if it were abandoned.
-- KEYS: the question, what is known of the answer
-- ARGV: the answer, milliseconds to remember it, milliseconds to keep what is known of it
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
redis.call('HSETNX', KEYS[2], 'found', 'abandoned')
redis.call('PEXPIRE', KEYS[2], ARGV[3])
return {'ok'}
