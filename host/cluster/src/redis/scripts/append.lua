-- KEYS: entries, head. ARGV: entry, epoch of a new log, messages, bytes, age, idle, channel, command to publish with.
-- Returns epoch and offset.
local head = redis.call('HMGET', KEYS[2], 'e', 'o', 'b')
local epoch, offset, bytes = head[1], 1, #ARGV[1]
if epoch then
    offset = head[2] + 1
    bytes = head[3] + bytes
else
    epoch = ARGV[2]
end
local offset_text = string.format('%.0f', offset)
-- Refused when the memory is full, before anything has changed.
redis.call('HSET', KEYS[2], 'e', epoch, 'o', offset_text, 'a', ARGV[5])
if offset == 1 then
    redis.call('DEL', KEYS[1])
end
local count = redis.call('RPUSH', KEYS[1], string.format('%015.0f', now) .. ARGV[1])
local messages, most, age = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
while count > 1 do
    local drop = count > messages or bytes > most
    if not drop and age then
        drop = tonumber(string.sub(redis.call('LINDEX', KEYS[1], 0), 1, 15)) + age <= now
    end
    if not drop then
        break
    end
    bytes = bytes - (#redis.call('LPOP', KEYS[1]) - 15)
    count = count - 1
end
redis.call('HSET', KEYS[2], 'b', string.format('%.0f', bytes))
for _, key in ipairs(KEYS) do
    if ARGV[6] == '' then
        redis.call('PERSIST', key)
    else
        redis.call('PEXPIRE', key, ARGV[6])
    end
end
redis.call(ARGV[8], ARGV[7], 'e' .. epoch .. ':' .. offset_text .. ':' .. ARGV[1])
return { epoch, offset_text }
