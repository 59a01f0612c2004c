-- NEEDS: trial
-- Tests whether a further server of a cluster accepts writes.
-- KEYS: a text, hash, list, stream, set and ranked set for the test
try_to_write(KEYS)
return {'ok'}
