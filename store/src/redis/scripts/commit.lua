-- Applies a batch: every check first, then every write.

local id, repeatable = text(), number()

local documents = {}
for index = 1, number() do
  local document = {
    key = KEYS[number()], former = KEYS[number()], expected = number(),
    delete = text() == '1', back = number(), blobs = KEYS[number()],
    kept = {}, set = {}, unset = {},
  }
  for at = 1, number() do document.kept[at] = text() end
  for at = 1, 2 * number() do document.set[at] = text() end
  for at = 1, number() do document.unset[at] = text() end
  documents[index] = document
end

local indexes = {}
for index = 1, number() do
  local change = { kind = text(), key = KEYS[number()] }
  if change.kind == 'put' then
    change.score, change.member = text(), text()
    if not tonumber(change.score) then error('score is no number') end
  elseif change.kind ~= 'free' then
    change.member = text()
  end
  indexes[index] = change
end

local guards = {}
for index = 1, number() do
  guards[index] = { kind = text(), key = KEYS[number()], limit = number() }
end

local acks = {}
for index = 1, number() do
  local ack = { q = queues[number()], subject = text(), token = number(), handled = {} }
  for at = 1, number() do ack.handled[at] = { print = text(), sequence = number() } end
  ack.continue = number() -- ms, or below 0: the lease ends
  acks[index] = ack
end

local messages = {}
for index = 1, number() do
  messages[index] = {
    q = queues[number()], subject = text(), group = text(), print = text(),
    mode = text(), due = now + number(), lease = number(), body = text(),
  }
end

local feed_length = number()
local events = {}
for index = 1, number() do
  events[index] = { key = KEYS[number()], name = text(), body = text() }
end

-- The ids of a document's last commits, newest first.
local function ids(raw)
  local list = {}
  for part in string.gmatch(raw or '', '[^%z]+') do list[#list + 1] = part end
  return list
end

for _, document in ipairs(documents) do
  local header = redis.call('HMGET', document.key, 'v', 'c')
  document.version = tonumber(header[1] or '0')
  document.ids = ids(header[2])
end

-- How many commits a document has had since ours; none if ours is not known.
local function since(document)
  for index, known in ipairs(document.ids) do
    if known == id then return index - 1 end
  end
end

local duplicate
if repeatable > 0 then
  duplicate = redis.call('EXISTS', KEYS[repeatable]) == 1
else
  duplicate = since(documents[1]) ~= nil
end
if duplicate then
  local versions, leased, next = {}, {}, {}
  for index, document in ipairs(documents) do
    versions[index] = document.version - (since(document) or 0)
  end
  for index, message in ipairs(messages) do
    if message.mode == 'leased' then
      local entry = look(message.q, message.subject)
      -- Only a token that this commit gave out is ours.
      if entry.token ~= 0 and entry.by == id then
        leased[#leased + 1] = { index, delivery(message.q, entry) }
      end
    end
  end
  for index, ack in ipairs(acks) do
    local entry = look(ack.q, ack.subject)
    if entry.token == ack.token then
      next[#next + 1] = { index, delivery(ack.q, entry) }
    end
  end
  return { 'ok', seq, epoch, 1, versions, leased, next }
end

for index, ack in ipairs(acks) do
  if look(ack.q, ack.subject).token ~= ack.token then return { 'fenced', seq, epoch, index } end
end
for index, document in ipairs(documents) do
  if document.version ~= document.expected then
    return { 'conflict', seq, epoch, index, document.version }
  end
end
for index, document in ipairs(documents) do
  for at, hash in ipairs(document.kept) do
    if redis.call('HEXISTS', document.blobs, hash) == 0 then
      return { 'missing', seq, epoch, index, at }
    end
  end
end
for index, guard in ipairs(guards) do
  local holds
  if guard.kind == 'fewer' then
    holds = redis.call('ZCARD', guard.key) < guard.limit
  elseif guard.kind == 'holds' then
    holds = tonumber(redis.call('HGET', guard.key, 'token') or '0') == guard.limit
  else
    holds = tonumber(redis.call('HGET', guard.key, 'v') or '0') == guard.limit
  end
  if not holds then return { 'guard', seq, epoch, index } end
end
for index, change in ipairs(indexes) do
  if change.kind == 'claim' then
    local there = redis.call('GET', change.key)
    if there and there ~= change.member then return { 'taken', seq, epoch, index, there } end
  end
end
for index, message in ipairs(messages) do
  if message.mode == 'leased' and look(message.q, message.subject).ends then
    return { 'busy', seq, epoch, index }
  end
end

-- From here on everything is written.

local versions, known = {}, {}
for index, document in ipairs(documents) do
  if document.delete then
    redis.call('UNLINK', document.key, document.former, document.blobs)
    versions[index], known[document.key] = 0, 0
  else
    local version = document.back > 0 and document.back or document.version + 1
    table.insert(document.ids, 1, id)
    redis.call('HSET', document.key, 'v', plain(version),
      'c', table.concat(document.ids, NUL, 1, math.min(4, #document.ids)), unpack(document.set))
    if #document.unset > 0 then redis.call('HDEL', document.key, unpack(document.unset)) end
    if #document.kept > 0 then redis.call('PERSIST', document.blobs) end
    versions[index], known[document.key] = version, version
  end
end
if repeatable > 0 then redis.call('SET', KEYS[repeatable], '', 'PX', 120000) end

for _, change in ipairs(indexes) do
  if change.kind == 'put' then
    redis.call('ZADD', change.key, change.score, change.member)
  elseif change.kind == 'drop' then
    redis.call('ZREM', change.key, change.member)
  elseif change.kind == 'claim' then
    redis.call('SET', change.key, change.member)
  else
    redis.call('DEL', change.key)
  end
end

for _, ack in ipairs(acks) do
  for _, handled in ipairs(ack.handled) do
    local there = waiting(ack.q, ack.subject, handled.print)
    -- One that was pushed again meanwhile stays.
    if there and there.sequence == handled.sequence then
      drop(ack.q, ack.subject, handled.print, there)
    end
  end
end

local leased = {}
for index, message in ipairs(messages) do
  local q, subject, mode = message.q, message.subject, message.mode
  local there = waiting(q, subject, message.print)
  local skip = (mode == 'ensure' and there)
    or ((mode == 'reschedule' or mode == 'remove') and not there)
  if not skip then
    local entry = touch(q, subject)
    if not entry.group then entry.group = message.group end
    if mode == 'remove' then
      drop(q, subject, message.print, there)
    else
      local body = mode == 'reschedule' and there.body or message.body
      put(q, subject, message.print, there,
        { due = message.due, sequence = stamp(), body = body })
    end
    if mode == 'leased' then
      entry.token, entry.tries, entry.by = stamp(), 1, id
      entry.ends = now + message.lease
      leased[#leased + 1] = { index, delivery(q, entry) }
    end
  end
end

local next = {}
for index, ack in ipairs(acks) do
  local entry = touch(ack.q, ack.subject)
  local due = ack.continue >= 0 and due_messages(ack.q, ack.subject) or {}
  entry.by = ''
  if #due > 0 then
    entry.ends, entry.tries = now + ack.continue, 1
    next[#next + 1] = { index, { entry.subject, entry.group, entry.token, 1, due } }
  else
    entry.ends, entry.tries, entry.token = nil, 0, 0
  end
end

local wakes = {}
settle_all(wakes)

-- The events of a commit are one entry of the feed, under the position of the last.
if #events > 0 then
  local fields = {}
  for _, event in ipairs(events) do
    local version = known[event.key] or tonumber(redis.call('HGET', event.key, 'v') or '0')
    for _, value in ipairs({ 'd', event.name, 'v', plain(version), 'e', event.body }) do
      fields[#fields + 1] = value
    end
  end
  fed = fed + #events
  redis.call('XADD', KEYS[#KEYS], 'MINID', '~', plain(math.max(0, fed - feed_length)),
    plain(fed) .. '-0', unpack(fields))
  wakes[#wakes + 1] = ''
end

seq = seq + 1
redis.call('HSET', meta, 'seq', plain(seq), 'stamp', plain(stamped), 'feed', plain(fed))
announce(wakes)
return { 'ok', seq, epoch, 0, versions, leased, next }
