-- KEYS: record, counter, index, expiries. ARGV: base, name, value, expected, time to live.
-- Returns 1 and the version, or 0 and the current version.
local current = redis.call('HGET', KEYS[1], 'v')
local expected = ARGV[4]
if expected ~= 'any' and (current or 'absent') ~= expected then
    return { 0, current or '' }
end
local version = next_number(KEYS[2])
redis.call('HSET', KEYS[1], 'd', ARGV[3], 'v', version)
redis.call('ZADD', KEYS[3], 0, ARGV[2])
sweep(KEYS[3], KEYS[4], ARGV[1])
set_ttl(KEYS[1], KEYS[4], ARGV[2], ARGV[5])
return { 1, version }
