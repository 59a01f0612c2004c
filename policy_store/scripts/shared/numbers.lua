-- Returns numbers as integer text, because Lua would print large ones as 1.0e+15.
local function text(number)
  return string.format('%.0f', number)
end
