-- Leases what is due: one application in turn, after those whose lease ended.

local most, lease, max_tries = number(), number(), number()
local call, repeats = text(), number() == 1
local q = queues[1]
local before = stamped

local function answer(deliveries)
  local next = earliest(q)
  return { 'ok', seq, epoch, deliveries, next and math.max(0, next - now) or -1 }
end

-- The answer to an earlier try of this call was lost: its leases are among the
-- last to end.
if repeats then
  local found = {}
  for _, subject in ipairs(redis.call('ZRANGE', q.leased, 0, 255, 'REV')) do
    local entry = look(q, subject)
    if entry.exists and entry.by == call then found[#found + 1] = delivery(q, entry) end
  end
  if #found > 0 then return answer(found) end
end

-- A subject whose lease ended is ready again; its old token is worthless only
-- once somebody leases it anew.
local ended = redis.call('ZRANGEBYSCORE', q.leased, '-inf', plain(now), 'LIMIT', 0, 64)
for _, subject in ipairs(ended) do
  local entry = look(q, subject)
  if entry.exists then
    entry.ends = nil
    settle(q, entry)
  else
    redis.call('ZREM', q.leased, subject)
  end
end

-- Gives up the first due message that is no notice itself: it goes to the dead
-- letters, a notice takes its place.
local function bury_first(subject)
  for _, message in ipairs(due_messages(q, subject)) do
    local print, body = message[1], message[4]
    if string.sub(print, 1, 5) ~= 'dead:' then
      drop(q, subject, print, { due = message[2], sequence = message[3] })
      redis.call('XADD', q.dead, 'MAXLEN', '~', 10000, '*', 's', subject, 'f', print, 'b', body)
      local notice = 'dead:' .. print
      put(q, subject, notice, waiting(q, subject, notice),
        { due = now, sequence = stamp(), body = body })
      return true
    end
  end
  return false
end

local function take(subject)
  local entry = look(q, subject)
  entry.tries = entry.tries + 1
  if entry.tries > max_tries and bury_first(subject) then entry.tries = 1 end
  entry.token, entry.by, entry.ends = stamp(), call, now + lease
  settle(q, entry)
  return delivery(q, entry)
end

local served_field = 'served:' .. q.name
local served
local deliveries = {}
local groups = redis.call('ZRANGEBYSCORE', q.groups, '-inf', plain(now), 'LIMIT', 0, 1000)
if #groups > 0 then
  served = redis.call('HGET', meta, served_field) or ''
  table.sort(groups)
  local at = 1
  while at <= #groups and groups[at] <= served do at = at + 1 end
  while #groups > 0 and #deliveries < most do
    if at > #groups then at = 1 end
    local group = groups[at]
    local head = redis.call('ZRANGEBYLEX', q.ready, '[' .. group .. NUL,
      '(' .. group .. AFTER, 'LIMIT', 0, 1)[1]
    if head and tonumber(string.sub(head, #group + 2, #group + 17)) <= now then
      served = group
      deliveries[#deliveries + 1] = take(string.sub(head, #group + 19))
      at = at + 1
    else
      table.remove(groups, at)
    end
  end
end

if stamped ~= before then
  redis.call('HSET', meta, 'stamp', plain(stamped), served_field, served)
end
return answer(deliveries)
