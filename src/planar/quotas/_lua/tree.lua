-- One tenant tree (`acme` and all below it) is five keys in one hash slot, and one script run is one atomic step on it.
--
-- Numbers are doubles here: all that is counted stays within 2^53. They become text by "%.0f" and never by `tostring`
-- (which prints 9e+15), and are stored by cmsgpack, which writes whole doubles as int64. Places in packed arrays have
-- names in capitals.

local STATE, LEASES, DUE, ENDED, LEDGER = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local call, encode, decode, format = redis.call, cmsgpack.pack, cmsgpack.unpack, string.format
local floor, ceil, huge = math.floor, math.ceil, math.huge

local NEVER = 2 ^ 60 -- later than any time, more than any amount
local MOST = 2 ^ 53 -- what can be counted to

-- The tree's own record. HIGH: the latest time seen. WAKE: before it there is nothing to end and nothing to forget.
-- CELLS: how many counters were ever made. KNOWN: 1 once limits were given, even none.
local TREE = ':'
local HIGH, WAKE, CELLS, KNOWN = 1, 2, 3, 4

-- What each request changes is stored apart from all that stays, in a field `=acme` beside `acme`: to pack and unpack it
-- takes longer than all that is decided with it. CHANGED: only that is to be written; REBUILT: the other too.
local MOVING = '='
local CHANGED, REBUILT = 1, 2

local tree, now
local scopes, changed = {}, {}

local function text(number)
  return format('%.0f', number)
end

-- 'acme/search/alice' -> {'acme', 'acme/search', 'acme/search/alice'}
local function scopes_of(tenant)
  local names, from = {}, 1
  repeat
    local at = string.find(tenant, '/', from, true)
    names[#names + 1] = at and string.sub(tenant, 1, at - 1) or tenant
    from = at and at + 1
  until not at
  return names
end

-- The client gives a time only in tests. The script runs alone, so the server's clock is read after every lock.
local function clock()
  if ARGV[1] ~= '' then
    return tonumber(ARGV[1])
  end
  local time = call('TIME')
  return time[1] * 1000000 + time[2]
end

-- The counters of a scope, with what moves in its place.
local function cells_from(packed, moving)
  if not packed then
    return {}
  end
  local cells, numbers, place = decode(packed), decode(moving), 0
  for _, cell in ipairs(cells) do
    if cell[KIND] == RATE then
      cell[LEVEL], cell[AT] = numbers[place + 1], numbers[place + 2]
      place = place + 2
    elseif cell[KIND] == WINDOW then
      local span = cell[SPAN]
      span[USED], span[HELD], span[LIVE] = numbers[place + 1], numbers[place + 2], numbers[place + 3]
      place = place + 3
    end
  end
  return cells
end

local function moving_of(cells)
  local numbers, place = {}, 0
  for _, cell in ipairs(cells) do
    if cell[KIND] == RATE then
      numbers[place + 1], numbers[place + 2] = cell[LEVEL], cell[AT]
      place = place + 2
    elseif cell[KIND] == WINDOW then
      local span = cell[SPAN]
      numbers[place + 1], numbers[place + 2], numbers[place + 3] = span[USED], span[HELD], span[LIVE]
      place = place + 3
    end
  end
  return numbers
end

-- Take note that a counter was changed. Old spans, shares and rolling budgets do not move: they are rebuilt.
local function touch(name, cell, span)
  local rebuilt = cell[KIND] == ROLLING or (span and (span ~= cell[SPAN] or span[CHILDREN]))
  if rebuilt or not changed[name] then
    changed[name] = rebuilt and REBUILT or CHANGED
  end
end

-- Read the tree's record and what is counted in these scopes, in one go. Time never runs back.
local function open(names)
  local fields, count = { TREE }, #names
  for place, name in ipairs(names) do
    fields[place + 1], fields[place + count + 1] = name, MOVING .. name
  end
  local stored = call('HMGET', STATE, unpack(fields))
  tree = stored[1] and decode(stored[1]) or { 0, NEVER, 0, 0 }
  for place, name in ipairs(names) do
    scopes[name] = cells_from(stored[place + 1], stored[place + count + 1])
  end
  now = clock()
  if now > tree[HIGH] then
    tree[HIGH] = now
  else
    now = tree[HIGH]
  end
end

-- The counters of one scope, in the order of its limits. The sweep may need scopes that nobody named.
local function cells_of(name)
  local cells = scopes[name]
  if not cells then
    local stored = call('HMGET', STATE, name, MOVING .. name)
    cells = cells_from(stored[1], stored[2])
    scopes[name] = cells
  end
  return cells
end

local function save()
  local fields = { TREE, encode(tree) }
  for name, how in pairs(changed) do
    local size = #fields
    fields[size + 1], fields[size + 2] = MOVING .. name, encode(moving_of(scopes[name]))
    if how == REBUILT then
      fields[size + 3], fields[size + 4] = name, encode(scopes[name])
    end
  end
  call('HSET', STATE, unpack(fields))
end
