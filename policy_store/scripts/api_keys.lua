-- All API keys made at run time and all that were revoked, from one moment.
-- KEYS: records, names, revoked, revision
return {'ok', redis.call('GET', KEYS[4]) or '0', redis.call('HGETALL', KEYS[1]), redis.call('HGETALL', KEYS[3])}
