-- What was seen where there was no room: the client words it with the engine's own counters.

local HOLDS_READ = 512

-- Whether it is requests in flight that are in the way: then it matters when they end.
local function is_busy(cell, span, child, cost, own)
  local kind = cell[KIND]
  if kind == RATE or own + cost > cell[AMOUNT] then
    return false
  end
  if kind == ROLLING then
    return true
  end
  local short = span[USED] + span[HELD] + cost > cell[AMOUNT]
  if short and span[USED] + own + cost <= cell[AMOUNT] then
    return true
  end
  return child ~= nil and own + cost <= share_of(math.max(0, cell[AMOUNT] - span[USED]), cell[SHARE])
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

-- `seen`: {cell, span, child, name, cost, own} of each counter without room. The answer is the refusal as data.
local function refusal(seen, besides)
  local cells, limits, busy, top = {}, {}, false, nil
  for place, each in ipairs(seen) do
    local cell, span, name = each[1], each[2], each[4]
    cells[place] = snapshot(cell, span, name)
    busy = busy or is_busy(cell, span, each[3], each[5], each[6])
    top = (not top or #name < #top) and name or top
    if not limits[name] then
      limits[name] = true
      limits[#limits + 1] = name
      limits[#limits + 1] = call('HGET', STATE, TREE .. name)
    end
  end
  local holds = {}
  if busy then
    each_live(top, function(lease, id)
      if id ~= besides then
        local costs = held_by(lease)
        holds[#holds + 1] = format('%s %.0f %.0f %d %.0f %.0f %.0f', lease[TENANT], lease[EXPIRES], lease[RESERVED_AT],
          lease[DISPATCHED], costs[2], costs[3], costs[5])
      end
      return #holds < HOLDS_READ
    end)
  end
  return { 'refused', now, cells, limits, holds }
end

-- A lease as it was answered last.
local function known(lease)
  return { 'lease', lease[TENANT], lease[DEPLOYMENT], lease[EXPIRES], lease[ASKED_IN], lease[ASKED_OUT],
    lease[ASKED_NANO], lease[HELD_IN], lease[HELD_OUT], lease[HELD_NANO], lease[TOKENS_LEFT], lease[NANO_LEFT] }
end
