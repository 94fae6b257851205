"""The metadata store in a Redis database: one gallery a database number.

Every change is one Lua script, hence one unit in Redis's append-only file. It applies only on the
head that it expects, so repeating it is harmless and a delayed one is refused.
What Redis promises is read at the start and whenever it was connected anew: without an append-only
file, or with a policy that evicts our keys, it is refused. The script looks for itself as well: an
operator may change both while we are connected.
"""

import uuid
from typing import cast

from gallery_index.errors import (
    GalleryCorruptError,
    GalleryError,
    GalleryMismatchError,
    StoreUnavailableError,
)
from gallery_index.records import Durability, GalleryIdentity
from gallery_index.stores.record_codec import (
    StoreHead,
    decode_head,
    encode_entry,
    encode_head,
    encode_identity,
    encode_pending,
)
from gallery_index.stores.redis_connection import REFUSE_UNSAFE
from gallery_index.stores.redis_reader import (
    CHANGES,
    COMMITS,
    ENTRIES,
    HEAD,
    IDENTITY,
    PENDING,
    RedisReader,
)
from gallery_index.stores.store import Transaction

# KEYS: head, entries, pending, commits, changes. ARGV: expected head, new head, its number, its
# token, then four lists, each with its length before it: new (row, value), changed (row, value),
# deleted (row, pending value), erased (row). Returns what became of it, and a value:
# the head that stands; or the row for which nothing was changed.
# Removals come first: they are allowed on a full server, and so is what follows them.
_COMMIT = (
    """
local head = redis.call('GET', KEYS[1])
if not head then return {'lost', ''} end
if head ~= ARGV[1] then return {'head', head} end

"""
    + REFUSE_UNSAFE
    + """
local at = 5
local function list(width)
  local first = at + 1
  at = first + tonumber(ARGV[at]) * width
  return {first, at - 1, width}
end
local new, changed, deleted, erased = list(2), list(2), list(2), list(1)
local function each(range, apply)
  for i = range[1], range[2], range[3] do apply(ARGV[i], ARGV[i + 1]) end
end

local wrong
local function must(exist)
  return function(row)
    if redis.call('HEXISTS', KEYS[2], row) ~= exist then wrong = row end
  end
end
each(new, must(0))
each(changed, must(1))
each(deleted, must(1))
if wrong then return {'damaged', wrong} end

each(deleted, function(row) redis.call('HDEL', KEYS[2], row) end)
each(erased, function(row) redis.call('HDEL', KEYS[3], row) end)
redis.call('SET', KEYS[1], ARGV[2])
redis.call('ZADD', KEYS[4], ARGV[3], ARGV[4])
local function put(row, value) redis.call('HSET', KEYS[2], row, value) end
local function note(row) redis.call('ZADD', KEYS[5], ARGV[3], row) end
each(new, put)
each(changed, put)
each(changed, note)
each(deleted, note)
each(deleted, function(row, value) redis.call('HSET', KEYS[3], row, value) end)
return {'head', ARGV[2]}
"""
)

# KEYS: identity, head, commits. ARGV: identity, head, its token. Returns the identity that stands.
_CREATE = """
if redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('SET', KEYS[1], ARGV[1])
  redis.call('SET', KEYS[2], ARGV[2])
  redis.call('ZADD', KEYS[3], 0, ARGV[3])
end
return redis.call('GET', KEYS[1])
"""

_NOTHING = ["0"] * 4


class RedisStore(RedisReader):
    """A `MetadataStore` in a Redis server, reached again by itself after it was away."""

    def __init__(self, url: str) -> None:
        """Connect and check the server's settings; waits while it loads its data.

        Raises: StoreUnavailableError, StoreConfigurationError.
        """
        self._in_doubt: StoreHead | None = None
        self._fences: set[StoreHead] = set()
        super().__init__(url)
        self._commit_script = self._redis.register_script(_COMMIT)
        self._create_script = self._redis.register_script(_CREATE)

    @staticmethod
    def open_for_reading(url: str) -> RedisReader:
        """Connect beside the process that writes; what the server promises does not matter."""
        return RedisReader(url)

    def create(self, identity: GalleryIdentity) -> None:
        """Make it the store of this gallery."""
        ours = encode_identity(identity)
        head = StoreHead(uuid.uuid4().hex, commit=0, next_row=0, entries=0)
        with self._reported():
            found = self._create_script(
                keys=[IDENTITY, HEAD, COMMITS], args=[ours, encode_head(head), head.token]
            )
        if found != ours:
            raise GalleryMismatchError(f"{self.location} already holds another gallery")

    def commit(self, transaction: Transaction) -> None:
        """Apply a transaction, whole; see `MetadataStore.commit`."""
        new = transaction.head_after(self._head)
        self._in_doubt = new
        try:
            with self._reported():
                self._server.check_anew()
                found = self._replace_head(new, self._arguments(transaction))
        except StoreUnavailableError:
            raise
        except GalleryError:
            self._in_doubt = None
            raise
        self._in_doubt = None
        if found != new:
            raise self._other_writer()
        self._head = new

    def settle(self) -> bool:
        """Say whether the transaction in doubt was applied; if not, fence it off.

        Its bytes may still wait in a connection that Redis has not read. Moving the head on makes
        them arrive too late.
        """
        assert self._in_doubt is not None
        self._server.check()
        with self._reported():
            found = self._read_head()
            if found != self._in_doubt:
                found = self._fence(found)
        applied = found == self._in_doubt
        self._head, self._in_doubt = found, None
        self._fences.clear()
        return applied

    def forget_history(self, before_commit: int) -> None:
        """Let go of what only heads before this commit need."""
        with self._reported():
            both = self._redis.pipeline(transaction=True)
            both.zremrangebyscore(COMMITS, "-inf", f"({before_commit}")
            both.zremrangebyscore(CHANGES, "-inf", before_commit)
            both.execute()

    def scrub(self) -> bool:
        """Ask Redis to rewrite its append-only file without what was deleted; it may refuse."""
        return self._server.scrub()

    def check(self) -> list[str]:
        """Redis checks its files when it loads them; there is nothing to ask it."""
        return []

    def durability(self) -> Durability:
        """What a commit survives, by the server's `appendfsync` as last read."""
        return self._server.durability

    def ready(self) -> bool:
        """Whether the server answers now, and is set up to keep what it is given."""
        return self._server.ready()

    def _begin(self) -> None:
        self._server.check()

    def _replace_head(self, new: StoreHead, arguments: list[str]) -> StoreHead:
        """Run the commit script upon our head; returns the head that stands."""
        keys = [HEAD, ENTRIES, PENDING, COMMITS, CHANGES]
        heads = [encode_head(self._head), encode_head(new), str(new.commit), new.token]
        outcome, value = cast(
            "tuple[str, str]", self._commit_script(keys=keys, args=[*heads, *arguments])
        )
        if outcome == "lost":
            raise self._lost()
        if outcome == "damaged":
            raise GalleryCorruptError(
                f"{self.location} holds no record of row {value}, or one before its time:"
                " it is damaged; check it with `mpanet gallery verify`"
            )
        return decode_head(value)

    def _arguments(self, transaction: Transaction) -> list[str]:
        new = [entry for entry in transaction.put if entry.row >= self._head.next_row]
        changed = [entry for entry in transaction.put if entry.row < self._head.next_row]
        arguments: list[str] = []
        for entries in (new, changed):
            arguments.append(str(len(entries)))
            for entry in entries:
                arguments += (str(entry.row), encode_entry(entry))
        arguments.append(str(len(transaction.delete)))
        for entry in transaction.delete:
            arguments += (str(entry.row), encode_pending(entry.entry_id))
        return [
            *arguments,
            str(len(transaction.erased_rows)),
            *(str(row) for row in transaction.erased_rows),
        ]

    def _fence(self, found: StoreHead) -> StoreHead:
        """Move the head from `found` to one that no transaction expects; returns what stands."""
        if found != self._head and found not in self._fences:
            raise self._other_writer()
        self._head = found
        fence = Transaction(found.next_row, found.entries).head_after(found)
        self._fences.add(fence)
        stands = self._replace_head(fence, _NOTHING)
        if stands not in (fence, self._in_doubt):
            raise self._other_writer()
        return stands

    def _other_writer(self) -> GalleryMismatchError:
        return GalleryMismatchError(
            f"{self.location} is not as this process left it: another process writes to it,"
            " or it came back with older data"
        )
