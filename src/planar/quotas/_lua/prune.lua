-- ARGV: now, windows, a time, how many rows at most. Forgets rows that are older, with the accounts that they opened.

open({})
sweep()
local rows = call('XRANGE', LEDGER, '-', '(' .. ARGV[3] .. '-0', 'COUNT', ARGV[4])
for _, row in ipairs(rows) do
  local id = row[2][2] -- each row begins with its lease
  local lease = lease_of(id)
  if lease and lease[FIRST] == row[1] then
    call('HDEL', LEASES, id)
  end
  call('XDEL', LEDGER, row[1])
end
save()
return #rows
