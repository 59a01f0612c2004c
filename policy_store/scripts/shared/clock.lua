-- NEEDS: numbers
-- The server's clock in microseconds: replicas' clocks differ, and no caller can backdate an entry.
local function micros()
  local time = redis.call('TIME')
  return text(time[1] * 1000000 + time[2])
end
