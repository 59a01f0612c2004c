-- NEEDS: clock, putting
-- Writes keys that the store does not have. A mark that it has stands, and what has expired is left out.
-- KEYS: the keys
-- ARGV: for each key its kind, when it expires in milliseconds ('' for never), how many items follow, and these
local position, now = 1, tonumber(micros()) / 1000
for _, key in ipairs(KEYS) do
  local kind, expires_at, items = ARGV[position], ARGV[position + 1], tonumber(ARGV[position + 2])
  local is_over = expires_at ~= '' and tonumber(expires_at) <= now
  if not is_over and redis.call('EXISTS', key) == 0 then
    PUT[kind](key, {unpack(ARGV, position + 3, position + 2 + items)})
    if expires_at ~= '' then
      redis.call('PEXPIREAT', key, expires_at)
    end
  end
  position = position + 3 + items
end
return {'ok'}
