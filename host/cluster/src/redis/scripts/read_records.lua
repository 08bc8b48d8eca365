-- KEYS: index, expiries. ARGV: base, names. Returns value, version and milliseconds to live of each, or nothing for
-- those that are gone, which are removed from the index.
local found = {}
for number = 2, #ARGV do
    local key = ARGV[1] .. ARGV[number]
    local record = redis.call('HMGET', key, 'd', 'v')
    if record[2] then
        found[number - 1] = { record[1], record[2], redis.call('PTTL', key) }
    else
        redis.call('ZREM', KEYS[1], ARGV[number])
        redis.call('ZREM', KEYS[2], ARGV[number])
        found[number - 1] = {}
    end
end
return found
