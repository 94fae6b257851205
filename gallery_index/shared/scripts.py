"""The transactions of a gallery that several processes write, as Lua scripts for Redis.

Each is one unit in Redis's append-only file, names every key it touches (all in one hash slot), and
does no harm when repeated: the client sends a script again when its answer was lost.

Keys: `ids` entry id -> row, `entries` row -> record, `enrolling` rows handed out by time,
`renewing` marks "row:token" by time, `pending` rows to be erased, `persons` a count,
`sequence` a count of changes, and a set of rows for each person.
"""

from typing import Final

from gallery_index.stores.redis_connection import REFUSE_UNSAFE

_PERSONS = """
local function join(key, row)
  if redis.call('EXISTS', key) == 0 then redis.call('INCR', PERSONS) end
  redis.call('SADD', key, row)
end
local function leave(key, row)
  if redis.call('SREM', key, row) == 1 and redis.call('EXISTS', key) == 0 then
    redis.call('DECR', PERSONS)
  end
end
"""

CREATE: Final = """
-- KEYS: identity. ARGV: its value. Returns the identity that stands afterwards.
redis.call('SETNX', KEYS[1], ARGV[1])
return redis.call('GET', KEYS[1])
"""

READ: Final = """
-- KEYS: identity, ids, entries. ARGV: entry ids.
-- Returns the identity, then for each id its row and record, or false twice.
local found = {redis.call('GET', KEYS[1])}
for _, id in ipairs(ARGV) do
  local row = redis.call('HGET', KEYS[2], id)
  found[#found + 1] = row
  found[#found + 1] = row and redis.call('HGET', KEYS[3], row)
end
return found
"""

RESERVE: Final = (
    REFUSE_UNSAFE
    + """
-- KEYS: identity, next_row, enrolling, sequence. ARGV: identity expected, how many rows.
-- Hands out rows; returns the first, and the number of this change. Nothing: another identity.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return {} end
local first = redis.call('INCRBY', KEYS[2], ARGV[2]) - ARGV[2]
local now = redis.call('TIME')[1]
for row = first, first + ARGV[2] - 1 do redis.call('ZADD', KEYS[3], now, row) end
return {first, redis.call('INCR', KEYS[4])}
"""
)

ENROL: Final = (
    REFUSE_UNSAFE
    + """
-- KEYS: ids, entries, enrolling, pending, persons, then a set of rows for each person.
-- ARGV: for each entry its id, row, record, and the place of its person among KEYS (0: none).
-- Returns for each: 1 committed, 0 the id is taken, -1 the row was taken back.
-- Rows without a record are to be erased.
local PERSONS = KEYS[5]
"""
    + _PERSONS
    + """
local outcomes = {}
for at = 1, #ARGV, 4 do
  local id, row, record, person = ARGV[at], ARGV[at + 1], ARGV[at + 2], tonumber(ARGV[at + 3])
  local holder = redis.call('HGET', KEYS[1], id)
  local outcome = 1
  if holder ~= row then
    if redis.call('ZREM', KEYS[3], row) == 0 then
      outcome = -1
    elseif holder then
      redis.call('SADD', KEYS[4], row)
      outcome = 0
    else
      redis.call('HSET', KEYS[1], id, row)
      redis.call('HSET', KEYS[2], row, record)
      if person > 0 then join(KEYS[person], row) end
    end
  end
  outcomes[#outcomes + 1] = outcome
end
return outcomes
"""
)

CHANGE: Final = (
    REFUSE_UNSAFE
    + """
-- KEYS: entries, renewing, persons, sequence, the old person's rows, the new person's rows.
-- ARGV: row, record expected, new record, mark, and whether there is an old and a new person.
-- Returns the number of this change; nothing if another record stands there.
local PERSONS = KEYS[3]
"""
    + _PERSONS
    + """
local found = redis.call('HGET', KEYS[1], ARGV[1])
if found ~= ARGV[2] and found ~= ARGV[3] then return false end
if found == ARGV[2] then
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
  if KEYS[5] ~= KEYS[6] then
    if ARGV[5] == '1' then leave(KEYS[5], ARGV[1]) end
    if ARGV[6] == '1' then join(KEYS[6], ARGV[1]) end
  end
end
redis.call('ZADD', KEYS[2], redis.call('TIME')[1], ARGV[4])
return redis.call('INCR', KEYS[4])
"""
)

ERASE: Final = (
    REFUSE_UNSAFE
    + """
-- KEYS: ids, entries, pending, persons, then a set of rows for each person.
-- ARGV: for each entry its id, row, record expected, and the place of its person (0: none).
-- Returns for each: 1 gone, 0 another record stands there.
local PERSONS = KEYS[4]
"""
    + _PERSONS
    + """
local outcomes = {}
for at = 1, #ARGV, 4 do
  local id, row, record, person = ARGV[at], ARGV[at + 1], ARGV[at + 2], tonumber(ARGV[at + 3])
  local found = redis.call('HGET', KEYS[2], row)
  local outcome = 0
  if found == record then
    redis.call('HDEL', KEYS[1], id)
    redis.call('HDEL', KEYS[2], row)
    redis.call('SADD', KEYS[3], row)
    if person > 0 then leave(KEYS[person], row) end
    outcome = 1
  elseif not found and redis.call('SISMEMBER', KEYS[3], row) == 1 then
    outcome = 1
  end
  outcomes[#outcomes + 1] = outcome
end
return outcomes
"""
)

TAKE_BACK: Final = """
-- KEYS: enrolling, pending. ARGV: greatest age in seconds, most rows.
-- Takes back rows whose enrolment did not end: it cannot be committed any more.
local oldest = redis.call('TIME')[1] - ARGV[1]
local rows = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', oldest, 'LIMIT', 0, ARGV[2])
for _, row in ipairs(rows) do
  redis.call('ZREM', KEYS[1], row)
  redis.call('SADD', KEYS[2], row)
end
return #rows
"""

ADOPT: Final = """
-- KEYS: entries, enrolling, pending. ARGV: rows found in the index or among the crops.
-- Marks those that belong to nothing as to be erased; returns them.
local strays = {}
for _, row in ipairs(ARGV) do
  if redis.call('HEXISTS', KEYS[1], row) == 0 and not redis.call('ZSCORE', KEYS[2], row) then
    redis.call('SADD', KEYS[3], row)
    strays[#strays + 1] = row
  end
end
return strays
"""

OVERDUE: Final = """
-- KEYS: renewing. ARGV: greatest age in seconds, most marks. Returns the older marks.
local oldest = redis.call('TIME')[1] - ARGV[1]
return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', oldest, 'LIMIT', 0, ARGV[2])
"""
