#!lua flags=no-writes
-- The server's clock, in ms; below 0 if another store is there than the one that is meant.

if redis.call('HGET', KEYS[1], 'made') ~= ARGV[1] then return -1 end
local time = redis.call('TIME')
return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
