-- Events are stored in the log, for their order among comparisons, and in a short separate list, for reading.
-- `detail` is JSON.
local function append_event(log, events, at, kind, detail)
  for _, stream in ipairs({log, events}) do
    redis.call('XADD', stream, '*', 'type', 'event', 'kind', kind, 'detail', detail, 'at', at)
  end
end
