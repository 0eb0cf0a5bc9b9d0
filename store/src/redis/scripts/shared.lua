-- What every script knows: arguments, the clock, counters, and mailboxes.
--
-- KEYS[1] is the shard's counters; each queue named has seven keys after it.
-- All times are the server's, in ms. Nothing is written before every argument
-- was read: an error in the middle would not roll back.

local NUL = '\0'
local AFTER = '\1'
local MOST_MESSAGES = 64
local MOST_BYTES = 262144
local NONE = string.rep('-', 16)

local position = 0
local function text()
  position = position + 1
  local value = ARGV[position]
  if value == nil then error('argument ' .. position .. ' is missing') end
  return value
end
local function number()
  local value = tonumber(text())
  if value == nil then error('argument ' .. position .. ' is no number') end
  return value
end

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local micros = tonumber(time[1]) * 1000000 + tonumber(time[2])

-- A whole number as text: `..` would print large ones as 1.7e+12.
local function plain(value) return string.format('%.0f', value) end
-- The same in sixteen digits, so that text sorts as the numbers do.
local function digits(value) return string.format('%016.0f', value) end

local meta = KEYS[1]
local channel, shard, store = text(), text(), text()
local queues = {}
for index = 1, number() do
  local base = 2 + 7 * (index - 1)
  queues[index] = {
    name = text(),
    entries = KEYS[base],     -- hash: subject -> whose, when due, who holds it
    ready = KEYS[base + 1],   -- sorted by text: group, due time, subject
    groups = KEYS[base + 2],  -- group -> due time of its first ready subject
    leased = KEYS[base + 3],  -- subject -> end of its lease
    order = KEYS[base + 4],   -- sorted by text: subject, due time, sequence, fingerprint
    bodies = KEYS[base + 5],  -- hash: subject, fingerprint -> due time, sequence, body
    dead = KEYS[base + 6],    -- stream of messages given up
    seen = {},
    touched = {},
  }
end

local counters = redis.call('HMGET', meta, 'seq', 'epoch', 'stamp', 'feed', 'made')
-- The server was emptied since, or another store was made there: nothing is ours.
if counters[5] ~= store then return { 'emptied', 0, 0 } end
local seq = tonumber(counters[1] or '0')
local epoch = tonumber(counters[2] or '0')
local stamped = tonumber(counters[3] or '0')
local fed = tonumber(counters[4] or '0')

-- Tokens and sequences grow with the clock, so that none is given out twice
-- even when the server lost its last seconds.
local function stamp()
  stamped = math.max(stamped + 1, micros)
  return stamped
end

-- The entry of a subject, read once.
local function look(q, subject)
  local entry = q.seen[subject]
  if entry then return entry end
  local raw = redis.call('HGET', q.entries, subject)
  entry = { subject = subject, token = 0, tries = 0, by = '' }
  if raw then
    local cut = string.find(raw, NUL, 57, true)
    entry.exists = true
    entry.due = tonumber(string.sub(raw, 1, 16))
    entry.ends = tonumber(string.sub(raw, 17, 32))
    entry.token = tonumber(string.sub(raw, 33, 48))
    entry.tries = tonumber(string.sub(raw, 49, 56))
    entry.group = string.sub(raw, 57, cut - 1)
    entry.by = string.sub(raw, cut + 1)
    entry.was_due, entry.was_ends = entry.due, entry.ends
  else
    -- Without an entry there are no messages: those that this script writes are all of them.
    entry.all = {}
  end
  q.seen[subject] = entry
  return entry
end

-- The entry of a subject that is going to change.
local function touch(q, subject)
  local entry = look(q, subject)
  if not entry.dirty then
    entry.dirty = true
    q.touched[#q.touched + 1] = entry
  end
  return entry
end

-- When the first message of a subject is due.
local function first_due(q, subject)
  local all = look(q, subject).all
  if all then
    local first
    for _, message in pairs(all) do
      if not first or message.due < first then first = message.due end
    end
    return first
  end
  local first = redis.call('ZRANGEBYLEX', q.order, '[' .. subject .. NUL,
    '(' .. subject .. AFTER, 'LIMIT', 0, 1)[1]
  return first and tonumber(string.sub(first, #subject + 2, #subject + 17))
end

-- Writes an entry as it should be: absent without messages, among the leased
-- with a lease, among the ready without one. `first` is when its first message is due.
local function write(q, entry, first)
  local subject = entry.subject
  entry.due = nil
  if first and not entry.ends then entry.due = first end
  local row = function(due) return entry.group .. NUL .. digits(due) .. NUL .. subject end
  if entry.was_due ~= entry.due then
    if entry.was_due then redis.call('ZREM', q.ready, row(entry.was_due)) end
    if entry.due then redis.call('ZADD', q.ready, 0, row(entry.due)) end
    local head = redis.call('ZRANGEBYLEX', q.ready, '[' .. entry.group .. NUL,
      '(' .. entry.group .. AFTER, 'LIMIT', 0, 1)[1]
    if head then
      local due = string.sub(head, #entry.group + 2, #entry.group + 17)
      redis.call('ZADD', q.groups, plain(tonumber(due)), entry.group)
    else
      redis.call('ZREM', q.groups, entry.group)
    end
  end
  if entry.ends then
    redis.call('ZADD', q.leased, plain(entry.ends), subject)
  elseif entry.was_ends then
    redis.call('ZREM', q.leased, subject)
  end
  if first or entry.ends then
    redis.call('HSET', q.entries, subject, (entry.due and digits(entry.due) or NONE)
      .. (entry.ends and digits(entry.ends) or NONE) .. digits(entry.token)
      .. string.format('%08.0f', entry.tries) .. entry.group .. NUL .. entry.by)
    entry.exists = true
  else
    if entry.exists then redis.call('HDEL', q.entries, subject) end
    entry.exists = nil
  end
  entry.was_due, entry.was_ends = entry.due, entry.ends
end

local function settle(q, entry) write(q, entry, first_due(q, entry.subject)) end

-- A waiting message: when it is due, its sequence, its body; none if none waits.
local function waiting(q, subject, print)
  local all = look(q, subject).all
  if all then return all[print] end
  local value = redis.call('HGET', q.bodies, subject .. NUL .. print)
  if not value then return nil end
  return {
    due = tonumber(string.sub(value, 1, 16)),
    sequence = tonumber(string.sub(value, 17, 32)),
    body = string.sub(value, 33),
  }
end

local function row(subject, message, print)
  return subject .. NUL .. digits(message.due) .. NUL .. digits(message.sequence) .. NUL .. print
end

-- Writes a message over the one of its fingerprint that waits, if any.
local function put(q, subject, print, old, new)
  local all = look(q, subject).all
  if all then all[print] = new end
  if old then redis.call('ZREM', q.order, row(subject, old, print)) end
  redis.call('ZADD', q.order, 0, row(subject, new, print))
  redis.call('HSET', q.bodies, subject .. NUL .. print,
    digits(new.due) .. digits(new.sequence) .. new.body)
end

local function drop(q, subject, print, message)
  local all = look(q, subject).all
  if all then all[print] = nil end
  redis.call('ZREM', q.order, row(subject, message, print))
  redis.call('HDEL', q.bodies, subject .. NUL .. print)
end

-- What of a subject is due, oldest first, within the limits of a delivery.
local function due_messages(q, subject)
  local all = look(q, subject).all
  local only, message = next(all or {})
  if only and next(all, only) == nil then
    -- Most subjects are made with one message.
    if message.due > now then return {} end
    return { { only, message.due, message.sequence, message.body } }
  end
  local rows = redis.call('ZRANGEBYLEX', q.order, '[' .. subject .. NUL,
    '(' .. subject .. NUL .. digits(now + 1), 'LIMIT', 0, MOST_MESSAGES)
  if #rows == 0 then return {} end
  local fields = {}
  for index, found in ipairs(rows) do
    fields[index] = subject .. NUL .. string.sub(found, #subject + 36)
  end
  local values = redis.call('HMGET', q.bodies, unpack(fields))
  local messages, bytes = {}, 0
  for index, value in ipairs(values) do
    local body = string.sub(value, 33)
    bytes = bytes + #body
    if bytes > MOST_BYTES and index > 1 then break end
    messages[index] = {
      string.sub(fields[index], #subject + 2),
      tonumber(string.sub(value, 1, 16)),
      tonumber(string.sub(value, 17, 32)),
      body,
    }
  end
  return messages
end

local function delivery(q, entry)
  return { entry.subject, entry.group, entry.token, entry.tries, due_messages(q, entry.subject) }
end

-- When the next thing of a queue is due or a lease of it ends.
local function earliest(q)
  local ready = tonumber(redis.call('ZRANGE', q.groups, 0, 0, 'WITHSCORES')[2])
  local lease = tonumber(redis.call('ZRANGE', q.leased, 0, 0, 'WITHSCORES')[2])
  if ready and lease then return math.min(ready, lease) end
  return ready or lease
end

-- Settles what was touched. Consumers are woken for what is due at once and for
-- what is due before the time they sleep until; a leased subject wakes nobody.
local function settle_all(wakes)
  for _, q in ipairs(queues) do
    local firsts, soonest = {}, nil
    for index, entry in ipairs(q.touched) do
      local first = first_due(q, entry.subject)
      firsts[index] = first or false
      if first and not entry.ends and (not soonest or first < soonest) then soonest = first end
    end
    local wake = soonest and soonest <= now
    if soonest and not wake then
      local before = earliest(q)
      wake = not before or soonest < before
    end
    for index, entry in ipairs(q.touched) do write(q, entry, firsts[index] or nil) end
    if wake then wakes[#wakes + 1] = q.name end
  end
end

-- One message to every process: the shard, then the queues with news; an empty
-- name stands for the feed.
local function announce(wakes)
  if #wakes > 0 then
    redis.call('PUBLISH', channel, shard .. NUL .. table.concat(wakes, NUL))
  end
end
