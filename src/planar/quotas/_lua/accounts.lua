-- Leases that were charged: answering again, correcting, refunding.

local function row_of(row)
  local fields, named = call('XRANGE', LEDGER, row, row)[1][2], {}
  for place = 1, #fields, 2 do
    named[fields[place]] = fields[place + 1]
  end
  return named, fields
end

-- 'settled 90 10 600 0' -> kind, tokens, nano-USD or nil
local function amounts_of(named)
  local kind, tokens_in, tokens_out, nano = string.match(named['what'], '^(%S+) (%S+) (%S+) (%S+)')
  return kind, tonumber(tokens_in), tonumber(tokens_out), tonumber(nano)
end

-- The answer that is a row of the book.
local function told(row, replayed)
  local _, fields = row_of(row)
  return { 'row', row, replayed and 1 or 0, fields }
end

-- A correction or refund: `delta` counts in budgets, the row says `nano`.
local function adjust(id, lease, path, kind, delta, nano, reason, terms, said)
  local overdrawn, alerts = amend(path, delta, lease[RESERVED_AT], lease[BOOKED_AT])
  lease[CHARGED_IN] = lease[CHARGED_IN] + delta[2]
  lease[CHARGED_OUT] = lease[CHARGED_OUT] + delta[3]
  lease[CHARGED_NANO] = lease[CHARGED_NANO] + delta[5]
  if nano then
    lease[SUM] = math.max(0, lease[SUM]) + nano
  end
  return write(id, lease, kind, delta[2], delta[3], nano, overdrawn, alerts, reason, terms, said)
end
