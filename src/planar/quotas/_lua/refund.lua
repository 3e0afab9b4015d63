-- ARGV: now, windows, lease id, input tokens, output tokens, nano-USD, reason. The tenant is the lease's.

local id, reason = ARGV[3], ARGV[7]
local tokens_in, tokens_out, nano = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])

local function again(lease)
  local named = row_of(lease[REFUND])
  local _, before_in, before_out, before_nano = amounts_of(named)
  local same = before_in == -tokens_in and before_out == -tokens_out and before_nano == -nano
  return same and named['reason'] == reason and told(lease[REFUND], true) or { 'otherwise' }
end

local function refund(path)
  local lease = lease_of(id)
  if not lease or not lease[FIRST] then
    return { 'nothing' }
  end
  if lease[REFUND] ~= '' then
    return again(lease)
  end
  if tokens_in > lease[CHARGED_IN] or tokens_out > lease[CHARGED_OUT] or nano > math.max(0, lease[SUM]) then
    return { 'less' }
  end
  if lease[CHARGED_IN] == 0 and lease[CHARGED_OUT] == 0 and lease[CHARGED_NANO] == 0 then
    return { 'nothing' }
  end
  local delta = { 0, -tokens_in, -tokens_out, -tokens_in - tokens_out, -nano, 0 }
  local terms = row_of(lease[FIRST])['terms']
  lease[REFUND] = adjust(id, lease, path, 'refund', delta, -nano, reason, terms, '')
  keep(id, lease)
  return told(lease[REFUND], false)
end

open({})
local lease = lease_of(id)
local path = lease and scopes_of(lease[TENANT]) or {}
local answer = ask_for_windows(path)
if not answer then
  sweep()
  answer = refund(path)
  save()
end
return answer
