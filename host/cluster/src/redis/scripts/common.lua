-- The beginning of each script: the time, the next number, and the removal of names that have expired.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- Returns a number that is greater than all before it, also if the server has lost its data: the time in microseconds.
local function next_number(counter)
    local number = tonumber(redis.call('GET', counter) or '0') + 1
    local micros = time[1] * 1000000 + time[2]
    if micros > number then
        number = micros
    end
    local text = string.format('%.0f', number)
    -- The first write of a script is one that is refused when the memory is full.
    redis.call('SET', counter, text)
    return text
end

-- Removes names of some records that have expired from the index.
local function sweep(index, expiries, base)
    for _, name in ipairs(redis.call('ZRANGEBYSCORE', expiries, '-inf', now, 'LIMIT', 0, 16)) do
        local left = redis.call('PTTL', base .. name)
        if left == -2 then
            redis.call('ZREM', index, name)
            redis.call('ZREM', expiries, name)
        elseif left == -1 then
            redis.call('ZREM', expiries, name)
        else
            redis.call('ZADD', expiries, now + left + 1, name)
        end
    end
end

-- Sets the time to live of a record.
local function set_ttl(key, expiries, name, ttl)
    if ttl == '' then
        redis.call('PERSIST', key)
        redis.call('ZREM', expiries, name)
    else
        redis.call('PEXPIRE', key, ttl)
        redis.call('ZADD', expiries, now + ttl, name)
    end
end
