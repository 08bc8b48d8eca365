-- KEYS: entries, head. Returns 1 if there was a log.
local is_there = redis.call('EXISTS', KEYS[2])
redis.call('DEL', KEYS[1], KEYS[2])
return is_there
