-- ARGV: now, windows, lease id, tenant; what the caller's lease holds: input, output, nano-USD; what is to be held
-- beside it: input, output, nano-USD (-1: unknown); microseconds to live.

local id, tenant = ARGV[3], ARGV[4]
local path = scopes_of(tenant)

-- The sum is a target: an extension that is repeated, from the same lease, finds it reached.
local function target(lease)
  local base, more = tonumber(ARGV[7]), tonumber(ARGV[10])
  local unknown = lease[HELD_NANO] == UNKNOWN or base == UNKNOWN or more == UNKNOWN
  return math.max(lease[HELD_IN], ARGV[5] + ARGV[8]), math.max(lease[HELD_OUT], ARGV[6] + ARGV[9]),
    unknown and UNKNOWN or math.max(lease[HELD_NANO], base + more)
end

local function extend()
  local lease = lease_of(id)
  if phase_of(lease) ~= 'active' then
    return { 'fate', phase_of(lease) }
  end
  if lease[TENANT] ~= tenant then
    return { 'tenant' }
  end
  local scope = tonumber(ARGV[10]) == UNKNOWN and priced(path)
  if scope then
    return { 'unpriced', scope, lease[DEPLOYMENT] }
  end
  local tokens_in, tokens_out, nano = target(lease)
  local before, after, delta, same = held_by(lease), costs_of(tokens_in, tokens_out, nano), {}, true
  for dimension = 1, 6 do
    delta[dimension] = after[dimension] - before[dimension]
    same = same and delta[dimension] == 0
  end
  if same and (tonumber(ARGV[8]) > 0 or tonumber(ARGV[9]) > 0 or tonumber(ARGV[10]) > 0) then
    return known(lease)
  end
  local seen = {}
  each_part(lease, function(cell, span, child, name)
    local cost = delta[cell[DIMENSION]]
    if cost ~= 0 and room(cell, span, child) < cost then
      seen[#seen + 1] = { cell, span, child, name, cost, before[cell[DIMENSION]] }
    end
  end)
  if #seen > 0 then
    local answer = refusal(seen, id)
    for _, costs in ipairs({ delta, before }) do
      answer[#answer + 1] = costs
    end
    return answer
  end
  each_part(lease, function(cell, span, child, name)
    local cost = delta[cell[DIMENSION]]
    if cost ~= 0 then
      hold(cell, span, child, cost)
      touch(name, cell, span)
    end
  end)
  lease[HELD_IN], lease[HELD_OUT], lease[HELD_NANO] = tokens_in, tokens_out, nano
  lease[TOKENS_LEFT], lease[NANO_LEFT] = UNKNOWN, UNKNOWN
  for _, row in ipairs(table_of(path)) do
    local cell, place = row[1], row[1][RANK] == TOKEN_BOUND and TOKENS_LEFT or row[1][RANK] == MONEY_BOUND and NANO_LEFT
    local span = cell[KIND] == WINDOW and current(cell, row[2]) or nil
    if place then
      local left = math.max(0, room(cell, span, child_of(cell, path, row[3])))
      lease[place] = lease[place] == UNKNOWN and left or math.min(lease[place], left)
    end
  end
  lease[EXPIRES] = now + ARGV[11]
  make_due(id, lease)
  keep(id, lease)
  return known(lease)
end

open(path)
local answer = ask_for_windows(path)
if not answer then
  sweep()
  answer = extend()
  save()
end
return answer
