#!lua flags=no-writes
-- Members of an index after a position, also one that is no longer in it.
--
-- KEYS[1] index; ARGV: 'up' or 'down', how many, then perhaps score and member.

local key, up, most = KEYS[1], ARGV[1] == 'up', tonumber(ARGV[2])
local score, member = ARGV[3], ARGV[4]

-- By bytes, as the server sorts; `<` would go by the machine's language.
local function less(a, b)
  for at = 1, math.min(#a, #b) do
    local x, y = string.byte(a, at), string.byte(b, at)
    if x ~= y then return x < y end
  end
  return #a < #b
end

local first, last
if score then
  -- How many are below the position, found by halving among those of its score.
  local low = redis.call('ZCOUNT', key, '-inf', '(' .. score)
  local high = low + redis.call('ZCOUNT', key, score, score)
  while low < high do
    local middle = math.floor((low + high) / 2)
    if less(redis.call('ZRANGE', key, middle, middle)[1], member) then
      low = middle + 1
    else
      high = middle
    end
  end
  if up then
    local at = redis.call('ZRANGE', key, low, low, 'WITHSCORES')
    first = (at[1] == member and tonumber(at[2]) == tonumber(score)) and low + 1 or low
  else
    last = low - 1
  end
else
  first, last = 0, redis.call('ZCARD', key) - 1
end

if most < 1 then return {} end
if up then return redis.call('ZRANGE', key, first, first + most - 1, 'WITHSCORES') end
if last < 0 then return {} end
local rows = redis.call('ZRANGE', key, math.max(0, last - most + 1), last, 'WITHSCORES')
local turned = {}
for at = #rows - 1, 1, -2 do
  turned[#turned + 1] = rows[at]
  turned[#turned + 1] = rows[at + 1]
end
return turned
