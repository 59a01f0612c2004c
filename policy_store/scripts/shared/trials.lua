-- NEEDS: numbers
-- How often each policy was asked and how often it failed: fields of control, since a generation began or was resumed.

-- Their names: asked and failed of the first policy, then of the second, and so on.
local function trial_fields(of, policies)
  local fields = {}
  for index = 0, tonumber(policies) - 1 do
    fields[#fields + 1] = of .. 'asked:' .. text(index)
    fields[#fields + 1] = of .. 'failed:' .. text(index)
  end
  return fields
end
