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

-- `charge`: {input, output, nano-USD or nil, 1 if estimated, terms, said}, as of a settle of what has its row already.
-- What was presumed, or estimated, gives way once to the truth: the difference becomes a row. What was refunded stays
-- refunded: a correction takes back no more than still counts.
local function settle_again(id, lease, path, charge)
  if lease[ANSWER] ~= '' and not (lease[GUESSED] == 1 and charge[4] == 0) then
    return told(lease[ANSWER], true)
  end
  local _, presumed_in, presumed_out, presumed_nano = amounts_of(row_of(lease[FIRST]))
  local more_in = math.max(charge[1] - presumed_in, -lease[CHARGED_IN])
  local more_out = math.max(charge[2] - presumed_out, -lease[CHARGED_OUT])
  local more_nano = charge[3] and math.max(charge[3] - (presumed_nano or 0), -lease[CHARGED_NANO])
  local delta = { 0, more_in, more_out, more_in + more_out, more_nano or 0, 0 }
  lease[ANSWER] = adjust(id, lease, path, 'correction', delta, more_nano, '', charge[5], charge[6])
  lease[GUESSED] = 0
  keep(id, lease)
  return told(lease[ANSWER], false)
end
