-- KEYS: lease, counter. ARGV: holder, time to live.
-- Returns 1 and the fencing number, or 0, the holder and the milliseconds that it has left.
local holder = redis.call('HGET', KEYS[1], 'h')
if holder and holder ~= ARGV[1] then
    return { 0, holder, redis.call('PTTL', KEYS[1]) }
end
local fence = next_number(KEYS[2])
redis.call('HSET', KEYS[1], 'h', ARGV[1], 'f', fence)
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return { 1, fence, 0 }
