-- The counters behind limits; the same decisions, to the unit, as planar.quotas._windows and _rates.

local ID, KIND, DIMENSION, AMOUNT, STOPS, PAYS, RANK = 1, 2, 3, 4, 5, 6, 7
local WINDOW, ROLLING, RATE = 1, 2, 3
-- Of a window: PERIOD ('day UTC', 'total', 'none') and its spans. Leases live on in the span that they reserved in.
-- Empty lists are `false`: a table takes long to pack.
local PERIOD, SHARE, ALERTS, SPAN, OLD, SPANS = 8, 9, 10, 11, 12, 13
local NUMBER, START, END, USED, HELD, ALERTED, NOTABLE, LIVE, CHILDREN = 1, 2, 3, 4, 5, 6, 7, 8, 9
-- Of a rolling budget.
local LENGTH, R_USED, R_HELD, NEWEST, BUCKETS = 8, 9, 10, 11, 12
local SLICES = 60
-- Of a rate.
local UNIT, CAPACITY, LEVEL, AT = 8, 9, 10, 11

local MONEY = 5 -- a dimension, as its place among costs
local GATE, TOKEN_BOUND, MONEY_BOUND = 0, 1, 2 -- ranks; the others are 3

local NOTHING = {}

-- Percentages without a product that a double could not hold.
local function share_of(amount, percent)
  local rest = amount % 100
  return (amount - rest) / 100 * percent + floor(rest * percent / 100)
end

local function threshold(amount, percent)
  local rest = amount % 100
  return (amount - rest) / 100 * percent + ceil(rest * percent / 100)
end

-- See from where on there is something to tell of what is used.
local function watch(cell, span)
  local notable = NEVER
  for _, percent in ipairs(cell[ALERTS] or NOTHING) do
    if percent > span[ALERTED] then
      notable = math.min(notable, threshold(cell[AMOUNT], percent))
    end
  end
  if cell[PAYS] == 1 then
    notable = math.min(notable, cell[AMOUNT] + 1)
  end
  span[NOTABLE] = notable
end

local function new_span(cell, from, to)
  cell[SPANS] = cell[SPANS] + 1
  local span = { cell[SPANS], from, to, 0, 0, 0, NEVER, 0, cell[SHARE] > 0 and {} }
  watch(cell, span)
  return span
end

-- When calendar windows begin and end is known to the client, who knows time zones: 'day Asia/Tokyo=from:to;...'
local bounds = {}
for period, from, to in string.gmatch(ARGV[2], '([^=;]+)=(%d+):(%d+)') do
  bounds[period] = { tonumber(from), tonumber(to) }
end

-- The answer that asks the client for the windows around `now`, where there are some that have to be opened.
local function ask_for_windows(names)
  local periods = {}
  for _, name in ipairs(names) do
    for _, cell in ipairs(cells_of(name)) do
      if cell[KIND] == WINDOW and now >= cell[SPAN][END] then
        local known = bounds[cell[PERIOD]]
        if not known or now < known[1] or now >= known[2] then
          periods[#periods + 1] = cell[PERIOD]
        end
      end
    end
  end
  return #periods > 0 and { 'windows', now, periods } or nil
end

local function keep_old(cell, span)
  cell[OLD] = cell[OLD] or {}
  table.insert(cell[OLD], span)
end

-- The current span, opened if need be.
local function current(cell, name)
  local span = cell[SPAN]
  if now < span[END] then
    return span
  end
  if span[LIVE] > 0 then
    keep_old(cell, span)
  end
  local window = bounds[cell[PERIOD]]
  cell[SPAN] = new_span(cell, window[1], window[2])
  changed[name] = REBUILT
  return cell[SPAN]
end

-- The span with this number, and where among the old ones it is. Only windows have spans.
local function span_of(cell, number)
  if cell[KIND] ~= WINDOW then
    return nil
  end
  if cell[SPAN][NUMBER] == number then
    return cell[SPAN]
  end
  for place, span in ipairs(cell[OLD] or NOTHING) do
    if span[NUMBER] == number then
      return span, place
    end
  end
end

-- Of a limit with a share: whose share it is that a request of this path takes.
local function child_of(cell, path, depth)
  return cell[KIND] == WINDOW and cell[SHARE] > 0 and path[depth + 1] or nil
end

local function drain(cell, at)
  if at > cell[AT] then
    cell[LEVEL] = math.max(0, cell[LEVEL] - (at - cell[AT]) * cell[AMOUNT])
    cell[AT] = at
  end
end

local function pour(cell, cost, at)
  drain(cell, at)
  cell[LEVEL] = math.max(0, math.min(MOST, cell[LEVEL] + cost * cell[UNIT]))
end

local function bucket(cell, at)
  local rest = at % cell[LENGTH]
  return (at - rest) / cell[LENGTH] * SLICES + floor(rest * SLICES / cell[LENGTH])
end

local function forget(cell, at)
  local newest = bucket(cell, at)
  if newest > cell[NEWEST] then
    cell[NEWEST] = newest
    local buckets = cell[BUCKETS]
    for number, used in pairs(buckets) do
      if number < newest - SLICES then
        cell[R_USED] = cell[R_USED] - used
        buckets[number] = nil
      end
    end
  end
end

local function book(cell, amount, at)
  local number = bucket(cell, at)
  if number > cell[NEWEST] then
    forget(cell, at)
  end
  if number >= cell[NEWEST] - SLICES then
    cell[BUCKETS][number] = (cell[BUCKETS][number] or 0) + amount
    cell[R_USED] = cell[R_USED] + amount
  end
end

-- How much could be held, in this span where there are spans.
local function room(cell, span, child)
  local kind = cell[KIND]
  if kind == RATE then
    drain(cell, now)
    return floor((cell[CAPACITY] - cell[LEVEL]) / cell[UNIT])
  end
  if kind == ROLLING then
    forget(cell, now)
    return cell[STOPS] == 1 and cell[AMOUNT] - cell[R_USED] - cell[R_HELD] or huge
  end
  if cell[STOPS] == 0 then
    return huge
  end
  local left = cell[AMOUNT] - span[USED] - span[HELD]
  if child then
    local share = share_of(math.max(0, cell[AMOUNT] - span[USED]), cell[SHARE])
    left = math.min(left, share - (span[CHILDREN][child] or 0))
  end
  return left
end

local function hold(cell, span, child, cost)
  local kind = cell[KIND]
  if kind == RATE then
    pour(cell, cost, now)
  elseif kind == ROLLING then
    cell[R_HELD] = cell[R_HELD] + cost
  else
    span[HELD] = span[HELD] + cost
    if child and cost ~= 0 then
      span[CHILDREN][child] = (span[CHILDREN][child] or 0) + cost
    end
  end
end

-- Put what was used in place of what was held. Whether there is something to tell of it.
local function settle(cell, span, child, held, actual, at)
  local kind = cell[KIND]
  if kind == RATE then
    if actual ~= held then
      pour(cell, actual - held, at)
    end
    return false
  end
  if kind == ROLLING then
    cell[R_HELD] = cell[R_HELD] - held
    if actual ~= 0 then
      book(cell, actual, at)
    end
    return actual > 0 and cell[PAYS] == 1 and cell[R_USED] > cell[AMOUNT]
  end
  if child then
    local left = (span[CHILDREN][child] or 0) - held
    span[CHILDREN][child] = left ~= 0 and left or nil
  end
  span[HELD] = span[HELD] - held
  span[USED] = span[USED] + actual
  return actual > 0 and span[USED] >= span[NOTABLE]
end

-- What has to be told: whether budgets that let their tenant pay as it goes are overdrawn, and alerts as text.
local function marks_of(told)
  local overdrawn, alerts = false, {}
  for _, each in ipairs(told) do
    local cell, span, name = each[1], each[2], each[3]
    local used = cell[KIND] == ROLLING and cell[R_USED] or span[USED]
    overdrawn = overdrawn or (cell[PAYS] == 1 and used > cell[AMOUNT])
    if cell[KIND] == WINDOW then
      local before = span[ALERTED]
      for _, percent in ipairs(cell[ALERTS] or NOTHING) do
        if percent > before and used >= threshold(cell[AMOUNT], percent) then
          span[ALERTED] = percent
          alerts[#alerts + 1] = table.concat(
            { name, cell[DIMENSION], cell[PERIOD], text(cell[AMOUNT]), text(span[START]), percent }, ' ')
        end
      end
      watch(cell, span)
      changed[name] = REBUILT
    end
  end
  return overdrawn, table.concat(alerts, ';')
end

-- All counters on a path: those that bound an answer's tokens first, then its money, then the others and the gates.
local function table_of(path)
  local ranked = { {}, {}, {} }
  for depth, name in ipairs(path) do
    for _, cell in ipairs(cells_of(name)) do
      table.insert(ranked[cell[RANK] == GATE and 3 or cell[RANK]], { cell, name, depth })
    end
  end
  local rows = ranked[1]
  for rank = 2, 3 do
    for _, row in ipairs(ranked[rank]) do
      rows[#rows + 1] = row
    end
  end
  return rows
end

-- Correct what an ended lease counts for, in the windows that are still open.
local function amend(path, delta, reserved_at, booked_at)
  local told = {}
  for _, row in ipairs(table_of(path)) do
    local cell, name = row[1], row[2]
    local cost, notable, span = delta[cell[DIMENSION]], false, nil
    if cell[KIND] == ROLLING then
      forget(cell, now)
      if cost ~= 0 then
        book(cell, cost, booked_at)
      end
      notable = cost > 0 and cell[PAYS] == 1 and cell[R_USED] > cell[AMOUNT]
    elseif cell[KIND] == WINDOW then
      span = current(cell, name)
      notable = reserved_at >= span[START] and settle(cell, span, nil, 0, cost, now)
    end
    if notable then
      told[#told + 1] = { cell, span, name }
    end
    touch(name, cell, span)
  end
  return marks_of(told)
end

-- The first scope with a money limit.
local function priced(path)
  for _, name in ipairs(path) do
    for _, cell in ipairs(cells_of(name)) do
      if cell[DIMENSION] == MONEY then
        return name
      end
    end
  end
end
