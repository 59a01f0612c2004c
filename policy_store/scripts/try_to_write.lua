-- NEEDS: trial
-- Whether one more server of a cluster takes writes.
-- KEYS: text, hash, list, stream, set and ranked set to try on
try_to_write(KEYS)
return {'ok'}
