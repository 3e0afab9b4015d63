-- What was seen where there was no room: the client words it with the engine's own counters.

local HOLDS_READ = 512

-- What has to become free in a counter before there is room, where it is requests in flight that are in the way: then
-- it matters when they end. {scope, dimension, from, to, how much}, of the scope and of a child's share of it.
local function wanted(cell, span, child, name, cost, own)
  local kind, amount, found = cell[KIND], cell[AMOUNT], {}
  if kind == RATE or own + cost > amount then
    return found
  end
  if kind == ROLLING then
    -- Where more than holds is in the way, what was dispatched ends in an order of its own: all are looked at.
    local busy = cell[R_USED] + own + cost <= amount
    local short = busy and cell[R_USED] + cell[R_HELD] + cost - amount or NEVER
    return { { name, cell[DIMENSION], 0, NEVER, short } }
  end
  local short = span[USED] + span[HELD] + cost - amount
  if short > 0 and span[USED] + own + cost <= amount then
    found[1] = { name, cell[DIMENSION], span[START], span[END], short }
  end
  if child then
    local share = share_of(math.max(0, amount - span[USED]), cell[SHARE])
    if own + cost <= share then
      local over = (span[CHILDREN][child] or 0) + cost - share
      found[#found + 1] = { child, cell[DIMENSION], span[START], span[END], over }
    end
  end
  return found
end

local function flat(map)
  local list = {}
  for key, value in pairs(map) do
    list[#list + 1] = type(key) == 'number' and text(key) or key
    list[#list + 1] = text(value)
  end
  return list
end

-- One counter: its scope, which of the scope's limits it is, and where it stands.
local function snapshot(cell, span, name)
  local place = 0
  for each, other in ipairs(cells_of(name)) do
    if other == cell then
      place = each
    end
  end
  if cell[KIND] == RATE then
    return { name, place, cell[LEVEL], cell[AT] }
  end
  if cell[KIND] == ROLLING then
    return { name, place, cell[R_USED], cell[R_HELD], cell[NEWEST], flat(cell[BUCKETS]) }
  end
  return { name, place, span[START], span[END], span[USED], span[HELD], flat(span[CHILDREN] or NOTHING) }
end

-- The living leases that will make room, first to end first, as text. No more are read than it takes.
local function holds_for(wants, besides)
  local holds, top = {}, nil
  for _, want in ipairs(wants) do
    top = (not top or #want[1] < #top) and want[1] or top
  end
  if not top then
    return holds
  end
  each_live(top, function(lease, id)
    if id == besides then
      return true
    end
    local costs, open_wants = held_by(lease), false
    holds[#holds + 1] = format('%s %.0f %.0f %d %.0f %.0f %.0f', lease[TENANT], lease[EXPIRES], lease[RESERVED_AT],
      lease[DISPATCHED], costs[2], costs[3], costs[5])
    for _, want in ipairs(wants) do
      local counts = lease[RESERVED_AT] >= want[3] and lease[RESERVED_AT] < want[4] and is_within(lease[TENANT], want[1])
      want[5] = want[5] - (counts and costs[want[2]] or 0)
      open_wants = open_wants or want[5] > 0
    end
    return open_wants and #holds < HOLDS_READ
  end)
  return holds
end

-- `seen`: {cell, span, child, name, cost, own} of each counter without room. The answer is the refusal as data.
local function refusal(seen, besides)
  local cells, limits, wants = {}, {}, {}
  for place, each in ipairs(seen) do
    local name = each[4]
    cells[place] = snapshot(each[1], each[2], name)
    for _, want in ipairs(wanted(each[1], each[2], each[3], name, each[5], each[6])) do
      wants[#wants + 1] = want
    end
    if not limits[name] then
      limits[name] = true
      limits[#limits + 1] = name
      limits[#limits + 1] = call('HGET', STATE, TREE .. name)
    end
  end
  return { 'refused', now, cells, limits, holds_for(wants, besides) }
end

-- A lease as it was answered last.
local function known(lease)
  return { 'lease', lease[TENANT], lease[DEPLOYMENT], lease[EXPIRES], lease[ASKED_IN], lease[ASKED_OUT],
    lease[ASKED_NANO], lease[HELD_IN], lease[HELD_OUT], lease[HELD_NANO], lease[TOKENS_LEFT], lease[NANO_LEFT] }
end
