-- ARGV: now, windows, lease id, tenant, input tokens, output tokens, nano-USD (-1: unknown), 1 if estimated, and for
-- the row, as JSON: price and metadata; usage and flags.

local id, tenant, guessed, terms, said = ARGV[3], ARGV[4], tonumber(ARGV[8]), ARGV[9], ARGV[10]
local tokens_in, tokens_out, nano = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local path = scopes_of(tenant)
if nano == UNKNOWN then
  nano = nil
end

-- Where the price is unknown the row says so, and budgets count what was held: never zero by ignorance.
local function settle_first(lease)
  local held = held_by(lease)
  local actual = { 1, tokens_in, tokens_out, tokens_in + tokens_out, nano or held[5], 0 }
  local overdrawn, alerts
  if lease[PHASE] == 'active' then
    overdrawn, alerts = settle_parts(lease, held, actual, now)
    finish(id, lease, 'settled')
  else
    overdrawn, alerts = amend(path, actual, lease[RESERVED_AT], now)
    lease[PHASE] = 'settled'
  end
  local row = write(id, lease, 'settled', tokens_in, tokens_out, nano, overdrawn, alerts, '', terms, said)
  charge(lease, row, actual, nano, now)
  lease[ANSWER], lease[GUESSED] = row, guessed
  keep(id, lease)
  if overdrawn or alerts ~= '' then
    return told(row, false)
  end
  return text(now) .. ' ' .. lease[DEPLOYMENT]
end

-- The difference to what was presumed. What was refunded stays refunded: it takes back no more than still counts.
local function correct(lease)
  local _, presumed_in, presumed_out, presumed_nano = amounts_of(row_of(lease[FIRST]))
  local more_in = math.max(tokens_in - presumed_in, -lease[CHARGED_IN])
  local more_out = math.max(tokens_out - presumed_out, -lease[CHARGED_OUT])
  local more_nano = nano and math.max(nano - (presumed_nano or 0), -lease[CHARGED_NANO])
  local delta = { 0, more_in, more_out, more_in + more_out, more_nano or 0, 0 }
  lease[ANSWER] = adjust(id, lease, path, 'correction', delta, more_nano, '', terms, said)
  lease[GUESSED] = 0
  keep(id, lease)
  return told(lease[ANSWER], false)
end

local function settle_lease()
  local lease = lease_of(id)
  local phase = phase_of(lease)
  if not (lease and lease[FIRST]) and (phase == '' or phase == 'released') then
    return { 'fate', phase }
  end
  if lease[TENANT] ~= tenant then
    return { 'tenant' }
  end
  if phase == 'active' or phase == 'lapsed' then
    return settle_first(lease)
  end
  local stands = lease[ANSWER] ~= '' and not (lease[GUESSED] == 1 and guessed == 0)
  if stands then
    return told(lease[ANSWER], true)
  end
  return correct(lease)
end

open(path)
local answer = ask_for_windows(path)
if not answer then
  sweep()
  answer = settle_lease()
  save()
end
return answer
