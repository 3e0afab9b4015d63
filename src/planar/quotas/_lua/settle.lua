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
    overdrawn, alerts = settle_parts(lease, held, actual, now, true)
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
  return settle_again(id, lease, path, { tokens_in, tokens_out, nano, guessed, terms, said })
end

open(path)
local answer = ask_for_windows(path)
if not answer then
  sweep()
  answer = settle_lease()
  save()
end
return answer
