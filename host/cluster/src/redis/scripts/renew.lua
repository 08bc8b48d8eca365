-- KEYS: lease. ARGV: fencing number, time to live, or '' to give it up. Returns 1 if it was held.
if redis.call('HGET', KEYS[1], 'f') ~= ARGV[1] then
    return 0
end
if ARGV[2] == '' then
    redis.call('DEL', KEYS[1])
else
    redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return 1
