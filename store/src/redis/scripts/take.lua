-- Takes a named lease, renews it, or answers -1 if somebody else holds it.

local holder, lease = text(), number()
local held = redis.call('HMGET', KEYS[2], 'token', 'ends', 'holder')
local token = tonumber(held[1] or '0')
if held[3] ~= holder then
  if held[3] and tonumber(held[2]) > now then return { 'ok', seq, epoch, -1 } end
  token = stamp()
  redis.call('HSET', meta, 'stamp', plain(stamped))
end
redis.call('HSET', KEYS[2], 'token', plain(token), 'ends', plain(now + lease), 'holder', holder)
return { 'ok', seq, epoch, token }
