#!lua flags=no-writes
-- The server's clock, in ms.

local time = redis.call('TIME')
return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
