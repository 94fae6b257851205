"""The metadata store in a Redis database: one gallery a database number.

Every change is one Lua script, hence one unit in Redis's append-only file. It applies only on the
head that it expects, so repeating it is harmless and a delayed one is refused.
What Redis promises is read at the start: without an append-only file, or with a policy that evicts
our keys, it is refused.
"""

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, cast

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from gallery_index.errors import (
    GalleryCorruptError,
    GalleryMismatchError,
    StorageFullError,
    StoreConfigurationError,
    StoreUnavailableError,
)
from gallery_index.record_codec import (
    StoreHead,
    decode_entry,
    decode_head,
    decode_identity,
    decode_pending,
    encode_entry,
    encode_head,
    encode_identity,
    encode_pending,
)
from gallery_index.records import Durability, GalleryIdentity, StoreKind
from gallery_index.store import StoreState, Transaction

_PREFIX = "{mpanet:gallery}"
_IDENTITY, _HEAD, _ENTRIES, _PENDING = (
    f"{_PREFIX}:{name}" for name in ("identity", "head", "entries", "pending")
)
_LOADING_WAIT_S = 60.0
_TIMEOUT_S = 3.0

# KEYS: head, entries, pending. ARGV: expected head, new head, then four lists, each with its
# length before it: puts (id, value), deletes (id), new pending (row, value), done pending (row).
# Returns the head that stands afterwards.
_COMMIT = """
local head = redis.call('GET', KEYS[1])
if head ~= ARGV[1] then return head end
redis.call('SET', KEYS[1], ARGV[2])
local at = 3
local function each(width, apply)
  local count = tonumber(ARGV[at])
  at = at + 1
  for _ = 1, count do
    apply(ARGV[at], ARGV[at + 1])
    at = at + width
  end
end
each(2, function(key, value) redis.call('HSET', KEYS[2], key, value) end)
each(1, function(key) redis.call('HDEL', KEYS[2], key) end)
each(2, function(row, value) redis.call('HSET', KEYS[3], row, value) end)
each(1, function(row) redis.call('HDEL', KEYS[3], row) end)
return ARGV[2]
"""

# KEYS: identity, head. ARGV: their values. Returns the identity that stands afterwards.
_CREATE = """
if redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('SET', KEYS[1], ARGV[1])
  redis.call('SET', KEYS[2], ARGV[2])
end
return redis.call('GET', KEYS[1])
"""


class RedisStore:
    """A `MetadataStore` in a Redis server, reached again by itself after it was away."""

    def __init__(self, url: str) -> None:
        """Connect and check the server's settings; waits while it loads its data.

        Raises: StoreUnavailableError, StoreConfigurationError.
        """
        try:
            self._redis = redis.Redis.from_url(
                url,
                decode_responses=True,
                socket_timeout=_TIMEOUT_S,
                socket_connect_timeout=_TIMEOUT_S,
                health_check_interval=15,
                retry=Retry(NoBackoff(), 1),
            )
        except ValueError as error:
            raise StoreConfigurationError(f"not a Redis URL: {error}") from error
        self._location = _describe(self._redis)
        self._commit_script = self._redis.register_script(_COMMIT)
        self._create_script = self._redis.register_script(_CREATE)
        self._head = ""
        self._in_doubt: str | None = None
        self._fences: set[str] = set()
        try:
            self._wait_until_loaded()
            self._durability = self._check_configuration()
        except BaseException:
            self._redis.close()
            raise

    @property
    def kind(self) -> StoreKind:
        """Which store this is."""
        return "redis"

    @property
    def location(self) -> str:
        """Where it is, for messages; without a password."""
        return self._location

    def identity(self) -> GalleryIdentity | None:
        """Return whose records these are; None if nobody's yet."""
        with self._reported():
            text = self._redis.get(_IDENTITY)
        return None if text is None else decode_identity(str(text))

    def create(self, identity: GalleryIdentity) -> None:
        """Make it the store of this gallery."""
        ours = encode_identity(identity)
        head = encode_head(StoreHead(uuid.uuid4().hex, next_row=0, entries=0))
        with self._reported():
            found = self._create_script(keys=[_IDENTITY, _HEAD], args=[ours, head])
        if found != ours:
            raise GalleryMismatchError(f"{self._location} already holds another gallery")

    def load(self) -> StoreState:
        """Read everything. Raises: GalleryCorruptError for a record that fails its checksum."""
        try:
            return self._load()
        except ValueError as error:  # bytes that are no text, a row that is no number
            raise GalleryCorruptError(f"{self._location} holds a damaged value: {error}") from error

    def _load(self) -> StoreState:
        with self._reported():
            self._head = self._read_head()
            entries = [
                decode_entry(value, key=key)
                for key, value in dict(self._redis.hscan_iter(_ENTRIES, count=1000)).items()
            ]
            pending = {
                int(row): decode_pending(value, row=int(row))
                for row, value in dict(self._redis.hscan_iter(_PENDING, count=1000)).items()
            }
        head = decode_head(self._head)
        if len(entries) != head.entries:
            raise GalleryCorruptError(
                f"{self._location} has {len(entries)} entries, its head says {head.entries}"
            )
        return StoreState(entries, head.next_row, pending)

    def commit(self, transaction: Transaction) -> None:
        """Apply a transaction, whole; see `MetadataStore.commit`."""
        new = encode_head(StoreHead(uuid.uuid4().hex, transaction.next_row, transaction.entries))
        try:
            with self._reported():
                found = self._replace_head(new, _arguments(transaction))
        except StoreUnavailableError:
            self._in_doubt = new
            raise
        if found != new:
            raise self._other_writer()
        self._head = new

    def settle(self) -> bool:
        """Say whether the transaction in doubt was applied; if not, fence it off.

        Its bytes may still wait in a connection that Redis has not read. Moving the head on makes
        them arrive too late.
        """
        assert self._in_doubt is not None
        with self._reported():
            self._durability = self._check_configuration()
            found = self._read_head()
            if found != self._in_doubt:
                found = self._fence(found)
        applied = found == self._in_doubt
        self._head, self._in_doubt = found, None
        self._fences.clear()
        return applied

    def scrub(self) -> None:
        """Ask Redis to rewrite its append-only file without what was deleted; it may refuse."""
        with suppress(redis.RedisError):
            self._redis.bgrewriteaof()

    def check(self) -> list[str]:
        """Redis checks its files when it loads them; there is nothing to ask it."""
        return []

    def durability(self) -> Durability:
        """What a commit survives, by the server's `appendfsync`."""
        return self._durability

    def ready(self) -> bool:
        """Whether the server answers now."""
        try:
            return bool(self._redis.ping())
        except redis.RedisError:
            return False

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()

    def _replace_head(self, new: str, arguments: list[str]) -> str:
        return str(
            self._commit_script(
                keys=[_HEAD, _ENTRIES, _PENDING], args=[self._head, new, *arguments]
            )
        )

    def _fence(self, found: str) -> str:
        """Move the head from `found` to one that no transaction expects; returns what stands."""
        if found != self._head and found not in self._fences:
            raise self._other_writer()
        self._head = found
        head = decode_head(found)
        fence = encode_head(StoreHead(uuid.uuid4().hex, head.next_row, head.entries))
        self._fences.add(fence)
        stands = self._replace_head(fence, ["0"] * 4)
        if stands not in (fence, self._in_doubt):
            raise self._other_writer()
        return stands

    def _read_head(self) -> str:
        head = self._redis.get(_HEAD)
        if head is None:
            raise GalleryMismatchError(f"{self._location} has lost the records of this gallery")
        return str(head)

    def _other_writer(self) -> GalleryMismatchError:
        return GalleryMismatchError(
            f"{self._location} is not as this process left it: another process writes to it,"
            " or it came back with older data"
        )

    def _wait_until_loaded(self) -> None:
        deadline = time.monotonic() + _LOADING_WAIT_S
        with self._reported():
            while True:
                try:
                    self._redis.ping()
                    return
                except redis.BusyLoadingError:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.1)

    def _check_configuration(self) -> Durability:
        with self._reported():
            persistence = self._redis.info("persistence")
            memory = self._redis.info("memory")
            appendfsync = self._appendfsync()
        if not int(persistence.get("aof_enabled", 0)):
            raise StoreConfigurationError(
                f"{self._location} keeps nothing over a restart: set appendonly yes"
                " and appendfsync always"
            )
        policy = str(memory.get("maxmemory_policy", "noeviction"))
        if policy.startswith("allkeys-"):
            raise StoreConfigurationError(
                f"{self._location} may evict records (maxmemory-policy {policy}):"
                " set maxmemory-policy noeviction"
            )
        if appendfsync is None:
            return "unknown"
        return "power-loss" if appendfsync == "always" else "process-crash"

    def _appendfsync(self) -> str | None:
        try:
            found = cast("dict[str, str]", self._redis.config_get("appendfsync"))
        except redis.ResponseError:  # CONFIG is forbidden on managed servers
            return None
        return found.get("appendfsync")

    @contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except redis.AuthenticationError as error:
            raise StoreConfigurationError(f"{self._location} refuses us: {error}") from error
        except redis.ResponseError as error:
            text = str(error)
            if text.startswith("OOM") or "No space left" in text:
                raise StorageFullError(f"{self._location} is full: {text}") from error
            raise StoreUnavailableError(f"{self._location} refuses: {text}") from error
        except redis.RedisError as error:
            raise StoreUnavailableError(f"{self._location} does not answer: {error}") from error


def _arguments(transaction: Transaction) -> list[str]:
    puts = [part for e in transaction.put for part in (e.entry_id, encode_entry(e))]
    deletes = [entry.entry_id for entry in transaction.delete]
    pending = [
        part for e in transaction.delete for part in (str(e.row), encode_pending(e.entry_id))
    ]
    erased = [str(row) for row in transaction.erased_rows]
    return [
        *(str(len(transaction.put)), *puts),
        *(str(len(deletes)), *deletes),
        *(str(len(transaction.delete)), *pending),
        *(str(len(erased)), *erased),
    ]


def _describe(client: Any) -> str:
    options = client.connection_pool.connection_kwargs
    place = options.get("path") or f"{options.get('host')}:{options.get('port')}"
    return f"Redis at {place} (database {options.get('db', 0)})"
