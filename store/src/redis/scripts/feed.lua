-- Entries of the shard's feed above a position, and the last position there is.

local after, most = text(), number()
local entries = {}
if most > 0 then
  entries = redis.call('XRANGE', KEYS[2], '(' .. after .. '-0', '+', 'COUNT', most)
end
return { 'ok', seq, epoch, fed, entries }
