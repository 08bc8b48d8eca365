-- KEYS: record, counter, index, expiries. ARGV: base, name, expected.
-- Returns 1 and "1" if there was a record, or 0 and the current version.
local current = redis.call('HGET', KEYS[1], 'v')
local expected = ARGV[3]
if expected ~= 'any' and (current or 'absent') ~= expected then
    return { 0, current or '' }
end
redis.call('DEL', KEYS[1])
redis.call('ZREM', KEYS[3], ARGV[2])
redis.call('ZREM', KEYS[4], ARGV[2])
return { 1, current and '1' or '0' }
