-- Marks that acknowledged commits were lost: the epoch rises once, whoever notices
-- first, and the feed jumps, so that its readers see a gap and start anew.

local seen, new = number(), number()
if epoch == seen then
  epoch = new
  fed = math.max(fed, new * 1099511627776)
  redis.call('HSET', meta, 'epoch', plain(epoch), 'feed', plain(fed), 'lost', plain(now))
  announce({ '' })
end
return { 'ok', seq, epoch }
