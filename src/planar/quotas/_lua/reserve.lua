-- ARGV: now, windows, lease id, tenant, deployment, input tokens, output tokens, nano-USD (-1: unknown),
-- microseconds to live (-1: not a time), 1 where only known tenants are let in.

local id, tenant, deployment = ARGV[3], ARGV[4], ARGV[5]
local path = scopes_of(tenant)

local function rooms_of(rows, costs)
  local seen = {}
  for _, row in ipairs(rows) do
    local cell, name, depth = row[1], row[2], row[3]
    local span = cell[KIND] == WINDOW and current(cell, name) or nil
    local child = child_of(cell, path, depth)
    local cost = costs[cell[DIMENSION]]
    local left = room(cell, span, child)
    row[4], row[5], row[6] = span, child, left - cost
    if left < cost then
      seen[#seen + 1] = { cell, span, child, name, cost, 0 }
    end
  end
  return seen
end

local function take(rows, costs)
  local parts, left = {}, { UNKNOWN, UNKNOWN }
  for _, row in ipairs(rows) do
    local cell, span, rank = row[1], row[4], row[1][RANK]
    hold(cell, span, row[5], costs[cell[DIMENSION]])
    if rank == TOKEN_BOUND or rank == MONEY_BOUND then
      left[rank] = left[rank] == UNKNOWN and row[6] or math.min(left[rank], row[6])
    end
    if rank ~= GATE then -- who was let in has been let in: nothing of that is given back
      local size = #parts
      parts[size + 1], parts[size + 2], parts[size + 3] = row[3], cell[ID], span and span[NUMBER] or 0
      if span then
        span[LIVE] = span[LIVE] + 1
      end
    end
    touch(row[2], cell, span)
  end
  return parts, left[TOKEN_BOUND], left[MONEY_BOUND]
end

local function reserve()
  local lease = lease_of(id)
  if phase_of(lease) ~= '' then
    return known(lease)
  elseif lease and lease[FIRST] then
    return { 'long ago' }
  end
  local ttl = tonumber(ARGV[9])
  if ttl < 0 then
    return { 'ttl' }
  end
  if ARGV[10] == '1' and tree[KNOWN] == 0 then
    return { 'unknown' }
  end
  local tokens_in, tokens_out, nano = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
  local scope = nano == UNKNOWN and priced(path)
  if scope then
    return { 'unpriced', scope }
  end
  local rows, costs = table_of(path), costs_of(tokens_in, tokens_out, nano)
  if #rooms_of(rows, costs) > 0 then
    expire_all() -- a refusal must be true: leases whose time is over are all ended before it is made
    local seen = rooms_of(rows, costs)
    if #seen > 0 then
      return refusal(seen, nil)
    end
  end
  local parts, tokens_left, nano_left = take(rows, costs)
  lease = { 'active', tenant, deployment, NEVER, now + ttl, now, 0, tokens_in, tokens_out, nano, tokens_in, tokens_out, nano,
    tokens_left, nano_left, parts }
  make_due(id, lease)
  keep(id, lease)
  return format('%.0f %.0f %.0f', lease[EXPIRES], tokens_left, nano_left)
end

open(path)
local answer = ask_for_windows(path)
if not answer then
  sweep()
  answer = reserve()
  save()
end
return answer
