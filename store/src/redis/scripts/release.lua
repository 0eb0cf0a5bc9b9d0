-- Hands a subject back unhandled; the try does not count.

local subject, token, delay = text(), number(), number()
local q = queues[1]
if look(q, subject).token ~= token then return { 'ok', seq, epoch, 0 } end
local entry = touch(q, subject)

if delay > 0 then
  local rows = redis.call('ZRANGEBYLEX', q.order, '[' .. subject .. NUL,
    '(' .. subject .. NUL .. digits(now + delay))
  for _, found in ipairs(rows) do
    local print = string.sub(found, #subject + 36)
    local old = waiting(q, subject, print)
    put(q, subject, print, old,
      { due = now + delay, sequence = old.sequence, body = old.body })
  end
end

entry.ends, entry.token, entry.by = nil, 0, ''
entry.tries = math.max(0, entry.tries - 1)
local wakes = {}
settle_all(wakes)
announce(wakes)
return { 'ok', seq, epoch, 1 }
