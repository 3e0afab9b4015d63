-- Whoever reads totals ends all leases whose time is over first.
-- ARGV: now, windows, scope, 'counts' (where each of its limits stands), 'held' (what its living leases hold) or 'rows'
-- (the last row of the tree's book).

local scope, what = ARGV[3], ARGV[4]

local function counts()
  local list = {}
  for _, cell in ipairs(cells_of(scope)) do
    local used, held
    if cell[KIND] == RATE then
      drain(cell, now)
      used, held = ceil(cell[LEVEL] / cell[UNIT]), 0
    elseif cell[KIND] == ROLLING then
      forget(cell, now)
      used, held = cell[R_USED], cell[R_HELD]
    else
      local span = current(cell, scope)
      used, held = span[USED], span[HELD]
    end
    list[#list + 1] = used
    list[#list + 1] = held
  end
  return { 'counts', call('HGET', STATE, TREE .. scope) or '', list }
end

-- The last row of the tree's book.
local function last_row()
  local last = call('XREVRANGE', LEDGER, '+', '-', 'COUNT', 1)[1]
  return last and last[1] or ''
end

local function held()
  local tokens_in, tokens_out, nano, count = 0, 0, 0, 0
  each_live(scope, function(lease)
    tokens_in = tokens_in + lease[HELD_IN]
    tokens_out = tokens_out + lease[HELD_OUT]
    nano = nano + math.max(0, lease[HELD_NANO])
    count = count + 1
  end)
  return { 'held', last_row(), tokens_in, tokens_out, nano, count }
end

open({ scope })
local answer = what == 'counts' and ask_for_windows({ scope }) or nil
if not answer then
  sweep()
  expire_all()
  answer = what == 'counts' and counts() or what == 'held' and held() or { 'rows', last_row() }
  save()
end
return answer
