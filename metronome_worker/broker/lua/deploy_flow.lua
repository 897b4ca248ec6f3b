-- Store a flow's source, and begin a new run of it unless one is under way.
--
-- KEYS[1]    flow
-- KEYS[2]    exit
-- KEYS[3..]  for each schedule: schedule, events; then for each stage: state; then for each stage's sources: events;
--            then for each source that reads from outside: state
-- ARGV[1]    digest of the source
-- ARGV[2]    bundle: the source (JSON)
-- ARGV[3]    layout (JSON): {"schedules": [{"kind", "settings", "interval"}], "stages": [[source, ...], ...],
--            "readers": n}, in the order of KEYS
-- RETURNS    {outcome, run, revision}; outcome is "started" (a new run), "changed" (a new revision of the run under
--            way), "unchanged", or "leaving" (the run under way is about to end: try again)
-- WHY        All of a run begins in one moment: the anchors of its schedules, the places where its stages start to
--            read, and nothing of the run before is left over.  Whoever deploys the same source again, or whose first
--            reply was lost, changes nothing.
local layout = cjson.decode(ARGV[3])
local time = redis.call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

local function stream_end(key)
  -- The last ID ever given in a stream, and how many entries it ever had.
  if redis.call('EXISTS', key) == 0 then
    return '0-0', 0
  end
  local info = redis.call('XINFO', 'STREAM', key)
  local last, added = '0-0', 0
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then last = info[i + 1] end
    if info[i] == 'entries-added' then added = info[i + 1] end
  end
  return last, added
end

local function integer(number)
  return string.format('%.0f', number)
end

local was = redis.call('HMGET', KEYS[1], 'digest', 'status', 'run', 'revision')
local digest, status, run, revision = was[1], was[2], tonumber(was[3] or 0), tonumber(was[4] or 0)
if status == 'leaving' then
  return {'leaving', run, revision}
end
if status == 'running' and digest == ARGV[1] then
  return {'unchanged', run, revision}
end
local is_new_run = status ~= 'running'
local at = 3

for _, schedule in ipairs(layout.schedules) do
  local key = KEYS[at]
  local settings = redis.call('HGET', key, 'settings')
  if is_new_run or settings ~= schedule.settings then
    -- The first tick is due one interval after the start, as in Tremor.
    local first = now_ms + schedule.interval
    if is_new_run or not settings then
      redis.call('DEL', key)
      redis.call('HSET', key, 'published', 0, 'skipped', 0, 'gap', 0)
    end
    redis.call('HSET', key, 'kind', schedule.kind, 'settings', schedule.settings,
      'anchor', integer(first), 'next', integer(first))
  end
  at = at + 2
end

local state_at = at
local source_at = at + #layout.stages
for _, sources in ipairs(layout.stages) do
  local key = KEYS[state_at]
  if is_new_run then
    redis.call('DEL', key)
  end
  for _, source in ipairs(sources) do
    if redis.call('HEXISTS', key, 'events:' .. source) == 0 then
      local last, added = stream_end(KEYS[source_at])
      redis.call('HSET', key, 'events:' .. source, last, 'read:' .. source, added)
    end
    source_at = source_at + 1
  end
  if redis.call('HEXISTS', key, 'commits') == 0 then
    redis.call('HSET', key, 'commits', 0)
  end
  state_at = state_at + 1
end

for i = source_at, source_at + layout.readers - 1 do
  if is_new_run then
    redis.call('DEL', KEYS[i])
  end
  if redis.call('HEXISTS', KEYS[i], 'commits') == 0 then
    redis.call('HSET', KEYS[i], 'commits', 0)
  end
end

if digest ~= ARGV[1] then
  revision = revision + 1
  redis.call('HSET', KEYS[1], 'digest', ARGV[1], 'bundle', ARGV[2], 'deployed_at', integer(now_ms))
end
if is_new_run then
  run = run + 1
  local exit_from = stream_end(KEYS[2])
  redis.call('HDEL', KEYS[1], 'code', 'barrier', 'ended_at')
  redis.call('HSET', KEYS[1], 'exit_from', exit_from, 'started_at', integer(now_ms))
end
redis.call('HSET', KEYS[1], 'status', 'running', 'run', run, 'revision', revision)
return {is_new_run and 'started' or 'changed', run, revision}
