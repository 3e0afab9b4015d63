-- ARGV: now, windows, lease id, tenant, 'dispatched' or 'release'.

local id, tenant, verb = ARGV[3], ARGV[4], ARGV[5]

-- From here on expiry charges.
local function dispatched(lease)
  local phase = phase_of(lease)
  if phase == '' and lease and lease[FIRST] then
    return 'ok' -- charged long ago: nothing is left of it but its account
  end
  if phase == '' or phase == 'released' or phase == 'lapsed' then
    return { 'fate', phase }
  end
  if lease[TENANT] ~= tenant then
    return { 'tenant' }
  end
  if phase == 'active' and lease[DISPATCHED] == 0 then
    lease[DISPATCHED] = 1
    keep(id, lease)
  end
  return 'ok'
end

local function release(lease)
  if phase_of(lease) ~= 'active' then
    return 'ok'
  end
  if lease[TENANT] ~= tenant then
    return { 'tenant' }
  end
  if lease[DISPATCHED] == 1 then
    return { 'dispatched' }
  end
  settle_parts(lease, held_by(lease), NO_COSTS, now, true)
  finish(id, lease, 'released')
  keep(id, lease)
  return 'ok'
end

open(scopes_of(tenant))
sweep()
local lease = lease_of(id)
local answer = verb == 'release' and release(lease) or verb == 'dispatched' and dispatched(lease)
save()
return answer
