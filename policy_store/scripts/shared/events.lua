-- Events are stored in the log, for their order among comparisons, and in a short separate list, for reading.
-- `detail` is a JSON object. A script that adds to a detail which it was given keeps the latter as it is, as
-- `given`: to decode and encode it would round its numbers to 14 digits. Readers join the two.
local function append_event(log, events, at, kind, detail, given)
  for _, stream in ipairs({log, events}) do
    redis.call('XADD', stream, '*', 'type', 'event', 'kind', kind, 'detail', detail, 'at', at,
      'given', given or '{}')
  end
end
