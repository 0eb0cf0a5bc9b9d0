-- Lengthens leases that nobody has taken over; one that had run out lives again.

local lease = number()
local wanted = {}
for index = 1, number() do
  wanted[index] = { q = queues[number()], subject = text(), token = number() }
end

local flags = {}
for index, one in ipairs(wanted) do
  local entry = look(one.q, one.subject)
  if entry.exists and entry.token == one.token then
    entry.ends = now + lease
    settle(one.q, entry)
    flags[index] = 1
  else
    flags[index] = 0
  end
end
return { 'ok', seq, epoch, flags }
