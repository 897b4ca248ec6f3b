-- Publish the ticks of one schedule that are due, each once, in order, never early.
--
-- KEYS[1]   lease: of the ticker
-- KEYS[2]   flow
-- KEYS[3]   schedule
-- KEYS[4]   events
-- ARGV[1]   value of the lease: "<epoch> <holder>"
-- ARGV[2]   run: "<run>.<revision>"
-- ARGV[3]   published: how many ticks the caller believes were published before
-- ARGV[4]   next: the due time (ms) that the caller believes comes next
-- ARGV[5]   next after this call (ms)
-- ARGV[6]   through: the due time (ms) of the last tick that this call publishes or skips
-- ARGV[7]   skipped: how many due ticks this call gives up
-- ARGV[8]   gap: how many ticks in a row will have been given up after this call
-- ARGV[9]   cap: how many entries the stream may hold before its source must wait
-- ARGV[10..] for each tick: id ("<due ms>-<index>"), head, tail (JSON of the event before and after `ingest_ns`), meta
--           (JSON, may be empty)
-- RETURNS   {outcome, now_us, published, next}; outcome is "published", "fenced" (another leads), "leaving" (nothing is
--           published any more), "stopped" (the run or revision is another, or has ended), "paused", "moved" (published
--           or next are not what the caller believes: its earlier reply was lost, or it has slept), "early", "full"
--           (the backlog is at its cap), "duplicate", or "blocked" followed by the stream's last ID, which lies in the
--           future: nothing can be added behind it
-- WHY       The leader decides who works; what is true is decided here, by the server's clock and the stream's own
--           last ID.
local time = redis.call('TIME')
local now_us = time[1] .. string.format('%06d', tonumber(time[2]))
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return {'fenced', now_us}
end
local flow = redis.call('HMGET', KEYS[2], 'run', 'revision', 'status', 'paused')
if (flow[1] or '') .. '.' .. (flow[2] or '') ~= ARGV[2] or flow[3] == 'ended' then
  return {'stopped', now_us}
end
if flow[3] ~= 'running' then
  return {'leaving', now_us}
end
if flow[4] then
  return {'paused', now_us}
end
local schedule = redis.call('HMGET', KEYS[3], 'published', 'next')
if schedule[1] ~= ARGV[3] or schedule[2] ~= ARGV[4] then
  return {'moved', now_us, schedule[1] or '', schedule[2] or ''}
end
if now_ms < tonumber(ARGV[6]) then
  return {'early', now_us}
end
if redis.call('XLEN', KEYS[4]) >= tonumber(ARGV[9]) then
  return {'full', now_us}
end

local function stream_end()
  local info = redis.call('XINFO', 'STREAM', KEYS[4])
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then return info[i + 1] end
  end
end

local function is_only_behind_others(id)
  -- Whether what stands at and behind an ID was written by hand: then its tick was not published, and goes behind them.
  local due_ms = tonumber(string.match(id, '^%d+'))
  local behind = redis.call('XRANGE', KEYS[4], id, '+', 'COUNT', 1000)
  for _, other in ipairs(behind) do
    local meta = other[2][5] == 'meta' and other[2][6] or ''
    if tonumber(string.match(meta, '"due_ms":(%d+)') or 0) >= due_ms then
      return false
    end
  end
  return #behind > 0 and #behind < 1000
end

local ingest_ns = now_us .. '000'
local published = tonumber(ARGV[3])
local outcome = 'published'
for i = 10, #ARGV, 4 do
  local entry = {'data', ARGV[i + 1] .. ingest_ns .. ARGV[i + 2], 'ingest_ns', ingest_ns}
  if ARGV[i + 3] ~= '' then
    entry[5], entry[6] = 'meta', ARGV[i + 3]
  end
  local added, is_duplicate = redis.pcall('XADD', KEYS[4], ARGV[i], unpack(entry)), false
  if type(added) == 'table' and added.err then
    local last = stream_end()
    if tonumber(string.match(last, '^%d+')) > now_ms then
      -- Only the first of the ticks comes here, so nothing is written yet.
      return {'blocked', now_us, last}
    end
    if not string.find(tostring(added.err), 'equal or smaller', 1, true) then
      return redis.error_reply(tostring(added.err))
    end
    is_duplicate = not is_only_behind_others(ARGV[i])
    if not is_duplicate then
      local ms, seq = string.match(last, '^(%d+)-(%d+)$')
      redis.call('XADD', KEYS[4], ms .. '-' .. string.format('%.0f', tonumber(seq) + 1), unpack(entry))
    end
  end
  if is_duplicate then
    -- This tick was published by somebody whom the schedule does not know of.
    -- It counts as published, for a tick is never published twice.
    outcome = 'duplicate'
  end
  published = published + 1
end
redis.call('HSET', KEYS[3], 'published', published, 'next', ARGV[5], 'gap', ARGV[8])
if ARGV[7] ~= '0' then
  redis.call('HINCRBY', KEYS[3], 'skipped', ARGV[7])
end
return {outcome, now_us, tostring(published), ARGV[5]}
