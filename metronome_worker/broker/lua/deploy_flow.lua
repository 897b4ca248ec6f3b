-- Store a flow's source, and begin a new run of it unless one is under way.
--
-- KEYS[1]    flow
-- KEYS[2]    exit
-- KEYS[3]    epoch
-- KEYS[4..]  the keys that the plan names by their place here
-- ARGV[1]    digest of the source
-- ARGV[2]    bundle: the source (JSON)
-- ARGV[3]    layout: what the flow needs (JSON), kept for the next deployment to compare with
-- ARGV[4]    plan (JSON): {"schedules": [{"key", "events", "kind", "settings", "interval"}], "readers": [key],
--            "stages": [{"key", "is_shared", "inputs": [{"name", "events", "was_shared"}]}],
--            "moves": [{"from", "to", "field"}], "gone": [key]}; every key is a place in KEYS
-- ARGV[5]    run and revision, "<run>.<revision>" as they stood, that `moves` and `gone` were made for
-- ARGV[6]    grace_ms: how long after its end the same source does not begin a new run
-- ARGV[7]    force: 1 to bring back a source that another has superseded, else 0
-- ARGV[8]    channel to announce it on
-- ARGV[9]    group that the workers read the event streams by
-- ARGV[10]   repair: 1 when what is stored cannot be used, though its digest may be that of the source; else 0
-- RETURNS    {outcome, run, revision}; outcome is "started" (a new run), "changed" (a new revision of the run under
--            way), "unchanged", "leaving" (the run under way is about to end: try again), "ended" (within its grace),
--            "superseded" (another source has taken this one's place), or "moved" (run or revision are others: look again)
-- WHY        All of a run begins in one moment: the anchors of its schedules, the places where its stages start to
--            read, and nothing of the run before is left over.  Whoever deploys the same source again, or whose first
--            reply was lost, changes nothing; an old replica that restarts does not undo a deployment.  Neither run
--            and revision nor an epoch ever come again, not even where a flow of this name was removed before: whoever
--            was stopped in an earlier run must find its writes refused.
local plan = cjson.decode(ARGV[4])
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

local function delivered(key)
  -- The last ID that the workers' group has given out; nil without a group.
  local groups = redis.pcall('XINFO', 'GROUPS', key)
  for _, info in ipairs(groups.err and {} or groups) do
    local is_ours, last = false, nil
    for i = 1, #info, 2 do
      is_ours = is_ours or (info[i] == 'name' and info[i + 1] == ARGV[9])
      last = info[i] == 'last-delivered-id' and info[i + 1] or last
    end
    if is_ours then
      return last
    end
  end
end

local function pending(key)
  -- The IDs that the group has given out and that are not done, in order.
  local ids, start = {}, '-'
  while true do
    local page = redis.call('XPENDING', key, ARGV[9], start, '+', 1000)
    for _, entry in ipairs(page) do
      ids[#ids + 1] = entry[1]
    end
    if #page < 1000 then
      return ids
    end
    start = '(' .. ids[#ids]
  end
end

local function integer(number)
  return string.format('%.0f', number)
end

local function counter(text)
  -- What somebody has changed by hand must not keep a good source from being deployed.
  return type(text) == 'string' and #text <= 15 and tonumber(string.match(text, '^%d+$')) or nil
end

local was = redis.call(
  'HMGET', KEYS[1], 'digest', 'status', 'run', 'revision', 'superseded', 'ended_at', 'last_run', 'last_epoch'
)
local digest, status = was[1], was[2]
local run, revision = counter(was[3]) or counter(was[7]) or 0, counter(was[4]) or 0
local is_list, superseded = pcall(cjson.decode, was[5] or '[]')
if not is_list or type(superseded) ~= 'table' then
  superseded = {}
end
local is_known = digest == ARGV[1] and ARGV[10] ~= '1'
if status == 'leaving' then
  return {'leaving', run, revision}
end
if is_known and status == 'running' then
  return {'unchanged', run, revision}
end
-- An end far in the future was noted before the clock was set back: it may be of any time.
if is_known and status == 'ended' and math.abs(now_ms - (tonumber(was[6]) or 0)) < tonumber(ARGV[6]) then
  return {'ended', run, revision}
end
if (was[3] or '') .. '.' .. (was[4] or '') ~= ARGV[5] then
  return {'moved', run, revision}
end
local others = {}
for _, old in ipairs(superseded) do
  if old == ARGV[1] and ARGV[7] ~= '1' then
    return {'superseded', run, revision}
  end
  if old ~= ARGV[1] then
    others[#others + 1] = old
  end
end
local is_new_run = status ~= 'running'

for _, move in ipairs(plan.moves) do
  local value = redis.call('HGET', KEYS[move.from], move.field)
  if value then
    redis.call('HSET', KEYS[move.to], move.field, value)
    redis.call('HDEL', KEYS[move.from], move.field)
  end
end
for _, key in ipairs(plan.gone) do
  redis.call('DEL', KEYS[key])
end

for _, schedule in ipairs(plan.schedules) do
  local key = KEYS[schedule.key]
  local settings = redis.call('HGET', key, 'settings')
  if is_new_run or settings ~= schedule.settings then
    -- The first tick is due one interval after the start, as in Tremor.
    local first = integer(now_ms + schedule.interval)
    if is_new_run or not settings then
      redis.call('DEL', key)
      redis.call('HSET', key, 'published', 0, 'skipped', 0, 'gap', 0)
    end
    redis.call('HSET', key, 'kind', schedule.kind, 'settings', schedule.settings, 'anchor', first, 'next', first)
  end
end

-- What is there already, though the clock may have been set back since, is of an earlier run or revision.
local entries_from = now_ms
for _, stage in ipairs(plan.stages) do
  local key = KEYS[stage.key]
  if is_new_run then
    redis.call('DEL', key)
  end
  for _, input in ipairs(stage.inputs) do
    -- What holds something else is told by whoever reads it.
    local kind = redis.call('TYPE', KEYS[input.events])
    if (type(kind) == 'table' and kind.ok or kind) == 'stream' then
      local last_ms = tonumber(string.match((stream_end(KEYS[input.events])), '^%d+'))
      entries_from = math.max(entries_from, last_ms + 1)
    end
    local events, position, open = KEYS[input.events], 'events:' .. input.name, 'open:' .. input.name
    local was_shared = input.was_shared
    if redis.call('HEXISTS', key, position) == 0 then
      local last, added = stream_end(events)
      redis.call('HSET', key, position, last, 'read:' .. input.name, added)
      redis.pcall('XGROUP', 'DESTROY', events, ARGV[9])
      was_shared = false
    end
    if stage.is_shared and not was_shared then
      -- All go on from where the one owner was; what it had not done of before is nobody's, to be taken over.
      local begin = redis.call('HMGET', key, position, 'read:' .. input.name, open)
      redis.pcall('XGROUP', 'DESTROY', events, ARGV[9])
      redis.call('XGROUP', 'CREATE', events, ARGV[9], begin[1], 'MKSTREAM', 'ENTRIESREAD', begin[2])
      for _, id in ipairs(begin[3] and cjson.decode(begin[3]) or {}) do
        redis.call('XCLAIM', events, ARGV[9], 'nobody', 0, id, 'FORCE', 'JUSTID')
      end
      redis.call('HDEL', key, open)
    elseif was_shared and not stage.is_shared then
      -- The other way round: the owner begins with what was given out and is not done.  The group goes, so that a
      -- read of a worker that does not know yet gives nothing out any more.
      local last = delivered(events)
      if last then
        local ids = pending(events)
        redis.call('HSET', key, position, last)
        if #ids > 0 then
          redis.call('HSET', key, open, cjson.encode(ids))
        end
        redis.call('XGROUP', 'DESTROY', events, ARGV[9])
      end
    end
  end
  redis.call('HSETNX', key, 'commits', 0)
end

for _, reader in ipairs(plan.readers) do
  if is_new_run then
    redis.call('DEL', KEYS[reader])
  end
  redis.call('HSETNX', KEYS[reader], 'commits', 0)
end

if not is_known then
  revision = revision + 1
  if digest and digest ~= ARGV[1] then
    others[#others + 1] = digest
  end
  redis.call('HSET', KEYS[1], 'digest', ARGV[1], 'bundle', ARGV[2], 'layout', ARGV[3], 'deployed_at', integer(now_ms))
  if #others > 0 then
    -- Only the last of them: a replica that is older still was replaced long ago.
    while #others > 100 do
      table.remove(others, 1)
    end
    redis.call('HSET', KEYS[1], 'superseded', cjson.encode(others))
  end
end
if is_new_run then
  run = run + 1
  local last_epoch = counter(was[8]) or 0
  if last_epoch > (counter(redis.pcall('GET', KEYS[3])) or 0) then
    redis.call('SET', KEYS[3], integer(last_epoch))
  end
  local exit_from = stream_end(KEYS[2])
  redis.call('HDEL', KEYS[1], 'code', 'barrier', 'ended_at', 'paused', 'last_run', 'last_epoch', 'last_code')
  redis.call('HSET', KEYS[1], 'exit_from', exit_from, 'started_at', integer(now_ms))
end
if not string.match(redis.call('HGET', KEYS[1], 'exit_from') or '', '^%d+%-%d+$') then
  redis.call('HSET', KEYS[1], 'exit_from', (stream_end(KEYS[2])))
end
redis.call('HSET', KEYS[1], 'status', 'running', 'run', run, 'revision', revision, 'entries_from', integer(entries_from))
redis.call('PUBLISH', ARGV[8], 'deployed')
return {is_new_run and 'started' or 'changed', run, revision}
