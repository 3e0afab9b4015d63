-- ARGV: now, windows, lease id, tenant; what is kept: input, output, nano-USD (-1: unknown), all empty to keep what is
-- there; how many parts; of each: id, its hold (input, output, nano-USD), 1 if it was settled, what it used (input,
-- output, nano-USD), 1 if that was estimated, terms, said.

local FIELDS = 11
local id, tenant = ARGV[3], ARGV[4]
local path = scopes_of(tenant)
local parts = {}
for number = 1, tonumber(ARGV[8]) do
  local from = 9 + (number - 1) * FIELDS
  local part = { id = ARGV[from], settled = ARGV[from + 4] == '1', terms = ARGV[from + 9], said = ARGV[from + 10] }
  part.hold = { tonumber(ARGV[from + 1]), tonumber(ARGV[from + 2]), tonumber(ARGV[from + 3]) }
  part.used = { tonumber(ARGV[from + 5]), tonumber(ARGV[from + 6]), tonumber(ARGV[from + 7]) }
  part.guessed = tonumber(ARGV[from + 8])
  parts[number] = part
end

-- The part whose id is used for something else, where there is one.
local function in_use()
  for _, part in ipairs(parts) do
    local other = lease_of(part.id)
    if other and (other[FIRST] or phase_of(other) ~= '') and (other[TENANT] ~= tenant or not other[FIRST]) then
      return { 'in use', part.id, other[PHASE] }
    end
  end
end

-- What of `hold` a lease can give up: requests and places stay with it until it ends.
local function share_in(lease, hold)
  local has = lease[FIRST] and { lease[CHARGED_IN], lease[CHARGED_OUT], lease[CHARGED_NANO] }
    or { lease[HELD_IN], lease[HELD_OUT], math.max(0, lease[HELD_NANO]) }
  local tokens_in, tokens_out = math.min(hold[1], has[1]), math.min(hold[2], has[2])
  return { 0, tokens_in, tokens_out, tokens_in + tokens_out, math.min(math.max(0, hold[3]), has[3]), 0 }
end

-- Put what was used in place of a part of the hold.
local function move(lease, held, actual, ends)
  local overdrawn, alerts = settle_parts(lease, held, actual, now, ends)
  lease[HELD_IN] = lease[HELD_IN] - held[2]
  lease[HELD_OUT] = lease[HELD_OUT] - held[3]
  if lease[HELD_NANO] ~= UNKNOWN then
    lease[HELD_NANO] = lease[HELD_NANO] - held[5]
  end
  return overdrawn, alerts
end

local function settle_part(lease, part)
  local before = part.id == id and lease or lease_of(part.id)  -- one table for one lease: it is kept at the end
  if before and before[FIRST] then
    if not part.settled then
      return told(before[FIRST], true)
    end
    local nano = part.used[3] ~= UNKNOWN and part.used[3] or nil
    return settle_again(part.id, before, path,
      { part.used[1], part.used[2], nano, part.guessed, part.terms, part.said })
  end
  local held, used = share_in(lease, part.hold), part.settled and part.used or part.hold
  local nano = used[3] ~= UNKNOWN and used[3] or nil
  local actual = { 1, used[1], used[2], used[1] + used[2], nano or held[5], 0 }
  local overdrawn, alerts
  if lease[PHASE] == 'active' then
    overdrawn, alerts = move(lease, held, actual, false)
  else
    overdrawn, alerts = amend(path, actual, lease[RESERVED_AT], now)
  end
  -- In which windows it counts was decided when the whole was reserved.
  local hold = part.hold
  local own = { part.settled and 'settled' or 'charged', tenant, lease[DEPLOYMENT], now + REMEMBERED, lease[EXPIRES],
    lease[RESERVED_AT], 1, hold[1], hold[2], hold[3], hold[1], hold[2], hold[3], lease[TOKENS_LEFT], lease[NANO_LEFT],
    {} }
  local row = write(part.id, own, part.settled and 'settled' or 'expired', used[1], used[2], nano, overdrawn, alerts, '',
    part.terms, part.settled and part.said or PRESUMED)
  charge(own, row, actual, nano, now)
  if part.settled then
    own[ANSWER], own[GUESSED] = row, part.guessed
  end
  keep(part.id, own)
  return told(row, false)
end

-- Hold no more than was said. Of what expired, and was presumed to be spent, it is known now on what.
local function shrink(lease)
  local kept = { tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]) }
  local none = kept[1] == 0 and kept[2] == 0 and kept[3] == 0
  if lease[PHASE] == 'active' and none then
    move(lease, held_by(lease), NO_COSTS, true)
    finish(id, lease, 'released')
  elseif lease[PHASE] == 'active' then
    local rest, spare = share_in(lease, kept), held_by(lease)
    for dimension = 1, 6 do
      spare[dimension] = (dimension == 1 or dimension == 6) and 0 or spare[dimension] - rest[dimension]
    end
    move(lease, spare, NO_COSTS, false)
  elseif lease[PHASE] == 'charged' and none then
    settle_again(id, lease, path, { 0, 0, 0, 0, '', '' })
  end
end

local function split()
  local lease = lease_of(id)
  if phase_of(lease) == '' and not (lease and lease[FIRST]) then  -- one that was charged is known as long as its rows
    return { 'fate', '' }
  end
  if lease[TENANT] ~= tenant then
    return { 'tenant' }
  end
  local answer = in_use()
  if answer then
    return answer
  end
  answer = { 'rows' }
  for number, part in ipairs(parts) do
    answer[number + 1] = settle_part(lease, part)
  end
  if ARGV[5] ~= '' then
    shrink(lease)
  end
  keep(id, lease)
  return answer
end

open(path)
local answer = ask_for_windows(path)
if not answer then
  sweep()
  answer = split()
  save()
end
return answer
