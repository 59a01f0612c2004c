-- Notes that a step of a staged promotion begins.
local function enter_step(control, of, step, comparisons, at)
  redis.call('HSET', control, of .. 'step', step, of .. 'step_at', at, of .. 'step_comparisons', comparisons)
end
