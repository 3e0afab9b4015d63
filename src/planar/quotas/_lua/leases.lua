-- Leases: alive, remembered for repeated calls, or kept as the account behind ledger rows. They end in one place.

local PHASE, TENANT, DEPLOYMENT, FORGET, EXPIRES, RESERVED_AT, DISPATCHED = 1, 2, 3, 4, 5, 6, 7
local ASKED_IN, ASKED_OUT, ASKED_NANO, HELD_IN, HELD_OUT, HELD_NANO, TOKENS_LEFT, NANO_LEFT = 8, 9, 10, 11, 12, 13, 14, 15
local PARTS = 16 -- of each counter that holds something: depth of its scope, its id, its span
-- Once charged: what counts in budgets, what the rows add up to, and the rows: the first, that of the settle, a refund.
local CHARGED_IN, CHARGED_OUT, CHARGED_NANO, BOOKED_AT, SUM, FIRST, ANSWER, GUESSED, REFUND =
  17, 18, 19, 20, 21, 22, 23, 24, 25

local UNKNOWN = -1 -- money of which nobody knows the price; room that nothing bounds
local REMEMBERED = 15 * 60 * 1000000
local SWEEP = 16
local NO_COSTS = { 0, 0, 0, 0, 0, 0 } -- nothing was used
local PRESUMED = '{"flags":["estimated"]}'

local function lease_of(id)
  local packed = call('HGET', LEASES, id)
  return packed and decode(packed) or nil
end

-- What became of a lease; nothing once it is forgotten, even if its account is still there.
local function phase_of(lease)
  return lease and now < lease[FORGET] and lease[PHASE] or ''
end

local function keep(id, lease)
  call('HSET', LEASES, id, encode(lease))
end

local function costs_of(tokens_in, tokens_out, nano)
  return { 1, tokens_in, tokens_out, tokens_in + tokens_out, math.max(0, nano), 1 }
end

local function held_by(lease)
  return costs_of(lease[HELD_IN], lease[HELD_OUT], lease[HELD_NANO])
end

local function make_due(id, lease)
  call('ZADD', DUE, text(lease[EXPIRES]), id)
  tree[WAKE] = math.min(tree[WAKE], lease[EXPIRES])
end

-- Calls `visit(cell, span, child, name)` for each part of a lease.
local function each_part(lease, visit)
  local parts, path = lease[PARTS], scopes_of(lease[TENANT])
  for place = 1, #parts, 3 do
    local name = path[parts[place]]
    for _, cell in ipairs(cells_of(name)) do
      if cell[ID] == parts[place + 1] then
        visit(cell, span_of(cell, parts[place + 2]), child_of(cell, path, parts[place]), name)
      end
    end
  end
end

-- A span that has ended goes with the last lease that counts in it.
local function leave(cell, span)
  span[LIVE] = span[LIVE] - 1
  if span[LIVE] == 0 and span ~= cell[SPAN] then
    local _, place = span_of(cell, span[NUMBER])
    table.remove(cell[OLD], place)
    cell[OLD] = #cell[OLD] > 0 and cell[OLD]
  end
end

-- `ends`: the lease leaves its windows.
local function settle_parts(lease, held, actual, at, ends)
  local told = {}
  each_part(lease, function(cell, span, child, name)
    local dimension = cell[DIMENSION]
    if settle(cell, span, child, held[dimension], actual[dimension], at) then
      told[#told + 1] = { cell, span, name }
    end
    if span and ends then
      leave(cell, span)
    end
    touch(name, cell, span)
  end)
  return marks_of(told)
end

-- Take a lease from the living. What was charged stays as an account; the rest is remembered for a while.
local function finish(id, lease, phase)
  call('ZREM', DUE, id)
  lease[PHASE] = phase
  lease[PARTS] = {}
  lease[FORGET] = now + REMEMBERED
  if phase == 'released' or phase == 'lapsed' then
    call('ZADD', ENDED, text(lease[FORGET]), id)
    tree[WAKE] = math.min(tree[WAKE], lease[FORGET])
  end
end

-- A row: who, what ('settled 90 10 600 0': kind, tokens, nano-USD or -, overdrawn), and what the client made of it.
local function write(id, lease, kind, tokens_in, tokens_out, nano, overdrawn, alerts, reason, terms, said)
  local what = format('%s %.0f %.0f %s %d', kind, tokens_in, tokens_out, nano and text(nano) or '-', overdrawn and 1 or 0)
  return call('XADD', LEDGER, text(now) .. '-*', 'lease', id, 'tenant', lease[TENANT], 'deployment', lease[DEPLOYMENT],
    'what', what, 'alerts', alerts, 'reason', reason, 'terms', terms, 'said', said)
end

-- Once: what a lease was charged at first.
local function charge(lease, row, counted, nano, at)
  lease[CHARGED_IN], lease[CHARGED_OUT], lease[CHARGED_NANO] = counted[2], counted[3], counted[5]
  lease[BOOKED_AT], lease[SUM], lease[FIRST] = at, nano or UNKNOWN, row
  lease[ANSWER], lease[GUESSED], lease[REFUND] = '', 0, ''
end

local function expire(id, lease)
  local held, at = held_by(lease), lease[EXPIRES]
  if lease[DISPATCHED] == 0 then
    settle_parts(lease, held, NO_COSTS, at, true)
    finish(id, lease, 'lapsed')
  else
    local counted = held_by(lease)
    counted[6] = 0
    local overdrawn, alerts = settle_parts(lease, held, counted, at, true)
    local nano = lease[HELD_NANO] ~= UNKNOWN and lease[HELD_NANO] or nil
    finish(id, lease, 'charged')
    local row = write(id, lease, 'expired', lease[HELD_IN], lease[HELD_OUT], nano, overdrawn, alerts, '', '', PRESUMED)
    charge(lease, row, counted, nano, at)
  end
  keep(id, lease)
end

-- End some of the leases whose time is over, of those of one time the first by their ids. Whether there may be more.
local function expire_some(count)
  local due = call('ZRANGE', DUE, '-inf', text(now), 'BYSCORE', 'LIMIT', 0, count)
  for _, id in ipairs(due) do
    expire(id, lease_of(id))
  end
  return #due == count
end

local function expire_all()
  repeat until not expire_some(128)
end

local function first_of(key)
  return tonumber(call('ZRANGE', key, 0, 0, 'WITHSCORES')[2] or NEVER)
end

-- Each operation clears away a few leases whose time is over.
local function sweep()
  if now < tree[WAKE] then
    return
  end
  expire_some(SWEEP)
  local ended = call('ZRANGE', ENDED, '-inf', text(now), 'BYSCORE', 'LIMIT', 0, SWEEP)
  if #ended > 0 then
    call('ZREM', ENDED, unpack(ended))
    for _, id in ipairs(ended) do
      local lease = lease_of(id)
      -- One that was settled after all has become an account, and one whose id was used again lives.
      if lease and lease[FORGET] <= now and (lease[PHASE] == 'released' or lease[PHASE] == 'lapsed') then
        call('HDEL', LEASES, id)
      end
    end
  end
  tree[WAKE] = math.min(first_of(DUE), first_of(ENDED))
end

local function is_within(tenant, scope)
  return tenant == scope or string.sub(tenant, 1, #scope + 1) == scope .. '/'
end

-- Calls `visit(lease, id)` for the living leases of a scope and its children, first to expire first, until that says
-- false.
local function each_live(scope, visit)
  local from, count = 0, 16
  repeat
    local ids = call('ZRANGE', DUE, from, from + count - 1)
    local stored = #ids > 0 and call('HMGET', LEASES, unpack(ids)) or {}
    for place, packed in ipairs(stored) do
      local lease = decode(packed)
      if is_within(lease[TENANT], scope) and visit(lease, ids[place]) == false then
        return
      end
    end
    from, count = from + #ids, 500
  until #ids == 0
end
