-- ARGV: now, windows, scope, the limits as JSON, how many they are; then of each: its key (what it bounds), kind,
-- dimension, amount, stops, pays, rank, and by kind: period, share (0: none), alerts ('80,100') | length | unit, capacity.

local FIELDS = 10
local scope = ARGV[3]
local KEYS_OF = '#' -- what the counters of a scope bound, in their order: `#acme`

local function numbers(list)
  local found = {}
  for number in string.gmatch(list, '%d+') do
    found[#found + 1] = tonumber(number)
  end
  return #found > 0 and found
end

-- Take another amount or policy. What has been reached by now counts as told: nobody crossed it.
local function change(cell)
  local span, reached = cell[SPAN], 0
  for _, percent in ipairs(cell[ALERTS] or NOTHING) do
    if span[USED] >= threshold(cell[AMOUNT], percent) then
      reached = percent
    end
  end
  return reached
end

local function adapt(cell, place)
  local amount = tonumber(ARGV[place + 3])
  local anew = amount ~= cell[AMOUNT]
  if cell[KIND] == RATE then
    drain(cell, now)
    cell[CAPACITY] = tonumber(ARGV[place + 8])
  end
  cell[AMOUNT], cell[STOPS] = amount, tonumber(ARGV[place + 4])
  cell[PAYS], cell[RANK] = tonumber(ARGV[place + 5]), tonumber(ARGV[place + 6])
  if cell[KIND] == WINDOW then
    cell[SHARE], cell[ALERTS] = tonumber(ARGV[place + 8]), numbers(ARGV[place + 9])
    local reached = change(cell)
    cell[SPAN][ALERTED] = anew and reached or math.max(cell[SPAN][ALERTED], reached)
    watch(cell, cell[SPAN])
    for _, span in ipairs(cell[OLD] or NOTHING) do -- an old window is judged by the new limit, with what it had told
      watch(cell, span)
    end
  end
end

local function make(id, place)
  local cell = { id }
  for offset = 1, 6 do
    cell[offset + 1] = tonumber(ARGV[place + offset])
  end
  if cell[KIND] == WINDOW then
    local period = ARGV[place + 7]
    local window = bounds[period] or { -1, MOST } -- what never ends needs no calendar
    cell[PERIOD], cell[SHARE], cell[ALERTS] = period, tonumber(ARGV[place + 8]), numbers(ARGV[place + 9])
    cell[SPAN], cell[OLD], cell[SPANS] = false, false, 0
    cell[SPAN] = new_span(cell, window[1], window[2])
  elseif cell[KIND] == ROLLING then
    cell[LENGTH], cell[R_USED], cell[R_HELD], cell[NEWEST], cell[BUCKETS] = tonumber(ARGV[place + 7]), 0, 0, 0, {}
    cell[NEWEST] = bucket(cell, now)
  else
    cell[UNIT], cell[CAPACITY], cell[LEVEL], cell[AT] =
      tonumber(ARGV[place + 7]), tonumber(ARGV[place + 8]), 0, now
  end
  return cell
end

local function keys_of()
  local keys = {}
  for key in string.gmatch(call('HGET', STATE, KEYS_OF .. scope) or '', '[^;]+') do
    keys[#keys + 1] = key
  end
  return keys
end

-- The counters that are there by what they bound, and the windows that new ones need and nobody gave.
local function look_around()
  local before, periods, keys = {}, {}, keys_of()
  for place, cell in ipairs(cells_of(scope)) do
    before[keys[place]] = cell
  end
  for number = 1, tonumber(ARGV[5]) do
    local place = 6 + (number - 1) * FIELDS
    local period = ARGV[place + 7]
    if not before[ARGV[place]] and string.find(period, ' ', 1, true) then
      local known = bounds[period]
      if not known or now < known[1] or now >= known[2] then
        periods[#periods + 1] = period
      end
    end
  end
  return before, #periods > 0 and { 'windows', now, periods } or nil
end

-- A new budget counts what its window has already used, as if it had always been there.
local function count_accounts(fresh)
  local cursor = '0'
  repeat
    local page = call('HSCAN', LEASES, cursor, 'COUNT', 500)
    cursor = page[1]
    for place = 2, #page[2], 2 do
      local lease = decode(page[2][place])
      if lease[FIRST] and is_within(lease[TENANT], scope) then
        local charged = { 1, lease[CHARGED_IN], lease[CHARGED_OUT], lease[CHARGED_IN] + lease[CHARGED_OUT],
          lease[CHARGED_NANO], 0 }
        for _, cell in ipairs(fresh) do
          local cost = charged[cell[DIMENSION]]
          if cell[KIND] == ROLLING and cost ~= 0 then
            book(cell, cost, lease[BOOKED_AT])
          elseif cell[KIND] == WINDOW and lease[RESERVED_AT] >= cell[SPAN][START] then
            settle(cell, cell[SPAN], nil, 0, cost, now)
          end
        end
      end
    end
  until cursor == '0'
end

-- What a living lease holds, in a counter that is younger than it.
local function adopt(cell, lease, path, depth, parts)
  local span
  if cell[KIND] == WINDOW then
    span = cell[SPAN]
    if lease[RESERVED_AT] < span[START] then
      span = new_span(cell, lease[RESERVED_AT], span[START])
      keep_old(cell, span)
    end
    span[LIVE] = span[LIVE] + 1
  end
  hold(cell, span, child_of(cell, path, depth), held_by(lease)[cell[DIMENSION]])
  local size = #parts
  parts[size + 1], parts[size + 2], parts[size + 3] = depth, cell[ID], span and span[NUMBER] or 0
end

local function move_live_leases(fresh, kept)
  each_live(scope, function(lease, id)
    local path, parts, depth = scopes_of(lease[TENANT]), {}, #scopes_of(scope)
    for place = 1, #lease[PARTS], 3 do
      if lease[PARTS][place] ~= depth or kept[lease[PARTS][place + 1]] then
        for offset = 0, 2 do
          parts[#parts + 1] = lease[PARTS][place + offset]
        end
      end
    end
    for _, cell in ipairs(fresh) do
      adopt(cell, lease, path, depth, parts)
    end
    lease[PARTS] = parts
    keep(id, lease)
  end)
end

local function set_limits(before)
  local cells, keys, fresh, kept = {}, {}, {}, {}
  for number = 1, tonumber(ARGV[5]) do
    local place = 6 + (number - 1) * FIELDS
    local cell = before[ARGV[place]]
    if cell then
      adapt(cell, place)
    else
      tree[CELLS] = tree[CELLS] + 1
      cell = make(tree[CELLS], place)
      if cell[KIND] ~= RATE then
        fresh[#fresh + 1] = cell
      end
    end
    cells[number], keys[number], kept[cell[ID]] = cell, ARGV[place], true
  end
  if #fresh > 0 then
    count_accounts(fresh)
  end
  for _, cell in ipairs(fresh) do
    if cell[KIND] == WINDOW then
      cell[SPAN][ALERTED] = change(cell)
      watch(cell, cell[SPAN])
    end
  end
  local gone = false
  for _, cell in pairs(before) do
    gone = gone or not kept[cell[ID]]
  end
  if gone or #fresh > 0 then
    move_live_leases(fresh, kept)
  end
  scopes[scope], changed[scope], tree[KNOWN] = cells, REBUILT, 1
  call('HSET', STATE, TREE .. scope, ARGV[4], KEYS_OF .. scope, table.concat(keys, ';'))
  return 'ok'
end

open({ scope })
local before, answer = look_around()
if not answer then
  sweep()
  expire_all()
  answer = set_limits(before)
  save()
end
return answer
