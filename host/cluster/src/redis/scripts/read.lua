-- KEYS: entries, head. ARGV: offset to begin after, or 'last'; messages, bytes.
-- Returns epoch, first and last offset, the offset of the first entry that follows, and the entries.
local head = redis.call('HMGET', KEYS[2], 'e', 'o', 'a')
if not head[1] then
    return {}
end
local last = tonumber(head[2])
local count = redis.call('LLEN', KEYS[1])
local front = last - count + 1
local age = tonumber(head[3] or '')
local skip = 0
while age and skip < count do
    local some = redis.call('LRANGE', KEYS[1], skip, skip + 63)
    local before = skip
    for _, entry in ipairs(some) do
        if tonumber(string.sub(entry, 1, 15)) + age > now then
            break
        end
        skip = skip + 1
    end
    if skip - before < 64 then
        break
    end
end
local messages, most = tonumber(ARGV[2]), tonumber(ARGV[3])
local found, sum = {}, 0
-- Takes an entry; false if it is one too many.
local function take(entry)
    local size = math.max(#entry - 15, 1)
    if #found >= messages or (#found > 0 and sum + size > most) then
        return false
    end
    sum = sum + size
    found[#found + 1] = string.sub(entry, 16)
    return true
end
local from
if ARGV[1] == 'last' then
    local at = count - 1
    local goes_on = true
    while goes_on and at >= skip do
        local some = redis.call('LRANGE', KEYS[1], math.max(skip, at - 63), at)
        for number = #some, 1, -1 do
            goes_on = take(some[number])
            if not goes_on then
                break
            end
            at = at - 1
        end
    end
    from = last - #found + 1
    local back = {}
    for number = #found, 1, -1 do
        back[#back + 1] = found[number]
    end
    found = back
else
    local at = math.max(tonumber(ARGV[1]) + 1 - front, skip)
    from = front + at
    local goes_on = true
    while goes_on and at < count do
        local some = redis.call('LRANGE', KEYS[1], at, at + 63)
        for _, entry in ipairs(some) do
            goes_on = take(entry)
            if not goes_on then
                break
            end
            at = at + 1
        end
    end
end
return { head[1], string.format('%.0f', front + skip), string.format('%.0f', last), string.format('%.0f', from), found }
