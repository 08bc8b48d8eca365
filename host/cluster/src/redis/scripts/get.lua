-- KEYS: record. Returns value, version and milliseconds to live, or nothing.
local record = redis.call('HMGET', KEYS[1], 'd', 'v')
if not record[2] then
    return {}
end
return { record[1], record[2], redis.call('PTTL', KEYS[1]) }
