#!lua flags=allow-oom
-- Keeps a large value beside its document, under its content hash; what runs may, even in a
-- full store. As long as there is no such document, its values go by themselves.

redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
if redis.call('EXISTS', KEYS[2]) == 0 then redis.call('PEXPIRE', KEYS[1], ARGV[3]) end
return 'ok'
