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

-- Read the tree's record and what is counted in these scopes, in one go. Time never runs back.
local function open(names)
  local stored = call('HMGET', STATE, TREE, unpack(names))
  tree = stored[1] and decode(stored[1]) or { 0, NEVER, 0, 0 }
  for place, name in ipairs(names) do
    local packed = stored[place + 1]
    scopes[name] = packed and decode(packed) or {}
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
    local packed = call('HGET', STATE, name)
    cells = packed and decode(packed) or {}
    scopes[name] = cells
  end
  return cells
end

local function save()
  local fields = { TREE, encode(tree) }
  for name in pairs(changed) do
    fields[#fields + 1] = name
    fields[#fields + 1] = encode(scopes[name])
  end
  call('HSET', STATE, unpack(fields))
end
