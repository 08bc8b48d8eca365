-- KEYS: record, counter, index, expiries. ARGV: base, name, number, time to live.
-- Returns 1, the sum and the version; or 0 and the error.
local is_new = redis.call('EXISTS', KEYS[1]) == 0
local sum = redis.pcall('HINCRBY', KEYS[1], 'd', ARGV[3])
if type(sum) == 'table' and sum.err then
    if string.find(sum.err, 'not an integer', 1, true) then
        return { 0, 'number' }
    elseif string.find(sum.err, 'overflow', 1, true) then
        return { 0, 'overflow' }
    end
    return sum
end
local version = next_number(KEYS[2])
redis.call('HSET', KEYS[1], 'v', version)
if is_new then
    redis.call('ZADD', KEYS[3], 0, ARGV[2])
    set_ttl(KEYS[1], KEYS[4], ARGV[2], ARGV[4])
end
sweep(KEYS[3], KEYS[4], ARGV[1])
-- As text, since numbers of Lua have 53 bits.
return { 1, redis.call('HGET', KEYS[1], 'd'), version }
