"""Lua scripts for changes that must happen on the server in one step.

One SET makes an entry visible. Commands that the server may refuse (for lack of memory, or of a permission)
come before it, and commands after it cannot fail the script. So an error of a script says that the script did
not touch the entry. No argument is large: large values were sent before, in pieces.
"""

from __future__ import annotations

from hashlib import sha1
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Final

__all__ = [
    "CREATE",
    "CREATE_AGAIN",
    "DELETE",
    "NEWEST",
    "REPLACE",
    "STORE",
    "STORE_LEASED",
    "SWAP_LEASES",
    "Script",
]


class Script:
    """A script's text, and the name that the server gives it once it was sent."""

    __slots__ = ("sha", "source")

    def __init__(self, source: str) -> None:
        self.source: Final = source.encode()
        # Redis names scripts by SHA-1; it protects no secret and proves nothing.
        self.sha: Final = sha1(self.source, usedforsecurity=False).hexdigest().encode()


# How to treat an existing entry: leave it, leave it unless it is the very same (an earlier try wrote it and
# its answer was lost), or replace it.
CREATE, CREATE_AGAIN, REPLACE = b"create", b"again", b"replace"

_COMMON = r"""
-- The id of a record and the number of its pieces; nothing where the value is a blob.
local function record(value)
  if string.byte(value, 7) == 47 then return string.match(value, '^\147LAILA/pieces (%x+) (%d+) ') end
end

-- Run `command` for one piece after the other, as long as they are there; return whether all of them were.
local function each(run, command, key, id, count, ...)
  local base = string.match(key, '^[^/]*/') .. 'p/' .. id .. '/'
  for i = 0, count - 1 do
    if run(command, base .. i, ...) ~= 1 then return false end
  end
  return true
end

-- After the entries, KEYS has the indexes of those that are evolutions, and `arguments` for each of them the
-- place of its entry and its member.
local function indexes(n, arguments)
  local found = {}
  for i = n + 1, #KEYS do
    local at = arguments + 2 * (i - n)
    found[tonumber(ARGV[at - 1])] = {KEYS[i], ARGV[at]}
  end
  return found
end

-- The entry that a member of an index is about.
local function entry(index, member)
  local base, stem = string.match(index, '^([^/]*/)i/(.*)$')
  return base .. 'e/' .. stem .. '-' .. string.sub(member, 4)
end
"""

_STORE_ONE = r"""
local n, ttl, how = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]
local index = indexes(n, 3 + n)

-- An index outlives what it lists.
local function list(key, member)
  local left = redis.call('PTTL', key)
  redis.call('ZADD', key, 0, member)
  if ttl == 0 then
    redis.call('PERSIST', key)
  elseif left ~= -1 and left < ttl then
    redis.call('PEXPIRE', key, ttl)
  end
end

-- Where entries go away by themselves, the oldest two of an index are looked after each time.
local function weed(key)
  for _, member in ipairs(redis.pcall('ZRANGE', key, 0, 1)) do
    if redis.pcall('EXISTS', entry(key, member)) == 0 then redis.pcall('ZREM', key, member) end
  end
end

local function store(i)
  local key, value, old = KEYS[i], ARGV[3 + i], ''
  if how == 'replace' then
    old = redis.call('GETRANGE', key, 0, 127)
  elseif redis.call('EXISTS', key) == 1 then
    if how == 'again' and redis.call('GET', key) == value then return 1 end
    return 0
  end
  local id, count = record(value)
  if id and not each(redis.call, 'EXISTS', key, id, count) then return -1 end
  if index[i] then list(index[i][1], index[i][2]) end
  -- Pieces live as long as their record.
  local done
  if ttl > 0 then
    if id then each(redis.call, 'PEXPIRE', key, id, count, ttl) end
    done = redis.pcall('SET', key, value, 'PX', ttl)
  else
    if id then each(redis.call, 'PERSIST', key, id, count) end
    done = redis.pcall('SET', key, value)
  end
  if done.err then
    if id then each(redis.pcall, 'EXPIRE', key, id, count, 600) end
    return done
  end
  local was, pieces = record(old)
  if was and was ~= id then each(redis.pcall, 'UNLINK', key, was, pieces) end
  if index[i] and ttl > 0 then weed(index[i][1]) end
  return 1
end

"""

# ARGV: n, milliseconds to live or 0, how, n values, then as `indexes` says.
# Answers: 1 written, 0 it was there, -1 a piece is gone.
STORE = Script(
    _COMMON
    + _STORE_ONE
    + r"""
local answers = {}
for i = 1, n do
  answers[i] = store(i)
  if type(answers[i]) == 'table' then return answers[i] end
end
return answers
"""
)

# Stores all or nothing, for the holder of leases. After the keys of STORE come those of the leases, and after
# its arguments a token for each lease, and the number of leases.
# Answers: 1 all are written, 0 one was there, -1 a piece is gone, -2 a lease is another's.
STORE_LEASED = Script(
    _COMMON
    + r"""
for i = 1, tonumber(table.remove(ARGV)) do
  local token, record = table.remove(ARGV), redis.call('GET', table.remove(KEYS))
  if not record or string.sub(record, 15, 46) ~= token then return -2 end
end
"""
    + _STORE_ONE
    + r"""
for i = 1, n do
  local value = ARGV[3 + i]
  if redis.call('EXISTS', KEYS[i]) == 1 and not (how == 'again' and redis.call('GET', KEYS[i]) == value) then
    return 0
  end
  local id, count = record(value)
  if id and not each(redis.call, 'EXISTS', KEYS[i], id, count) then return -1 end
end
for i = 1, n do
  local done = store(i)
  if type(done) == 'table' then return done end
end
return 1
"""
)

# ARGV: milliseconds that a record is kept; for each key whether there was a record, the record, the new one.
# Answers: for each whether it was changed.
SWAP_LEASES = Script(r"""
local answers = {}
for i, key in ipairs(KEYS) do
  local at = 3 * i - 1
  local was, old = redis.call('GET', key), ARGV[at + 1]
  if (ARGV[at] == '0' and not was) or (ARGV[at] == '1' and was == old) then
    redis.call('SET', key, ARGV[at + 2], 'PX', ARGV[1])
    answers[i] = 1
  else
    answers[i] = 0
  end
end
return answers
""")

# ARGV: n, then as `indexes` says. Answers: for each whether it was there.
DELETE = Script(
    _COMMON
    + r"""
local n = tonumber(ARGV[1])
local index = indexes(n, 1)
local answers = {}
for i = 1, n do
  local old = redis.call('GETRANGE', KEYS[i], 0, 127)
  if index[i] then redis.call('ZREM', index[i][1], index[i][2]) end
  answers[i] = redis.call('UNLINK', KEYS[i])
  local was, pieces = record(old)
  if was then each(redis.pcall, 'UNLINK', KEYS[i], was, pieces) end
end
return answers
"""
)

# Answers: the last member of the index whose entry is there.
NEWEST = Script(
    _COMMON
    + r"""
local rank = -1
while true do
  local member = redis.call('ZRANGE', KEYS[1], rank, rank)[1]
  if not member then return false end
  if redis.call('EXISTS', entry(KEYS[1], member)) == 1 then return member end
  rank = rank - 1
end
"""
)
