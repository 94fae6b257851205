"""Who holds an API key: those of the environment and those of the keys file, in one place.

What a holder may do is `roles`, how often `rate_limit`.
"""

import hashlib
import hmac
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from service.access.caller import ENVIRONMENT, Caller
from service.access.keys import PREFIX, KeyRecord
from service.access.keys_watch import KeysWatch
from service.errors import KeyUnknownError


@dataclass(frozen=True, slots=True)
class Holder:
    """The caller behind a key, and how many requests a minute the key itself allows."""

    caller: Caller
    rate_limit: int | None
    digest: bytes
    expires_at_s: float = math.inf
    revoked: bool = False


_NOBODY: Final = Holder(Caller("", "", frozenset()), None, bytes(32))


class KeyRing:
    """Tells whose a key is, in the same time whatever came; follows the keys file."""

    def __init__(
        self,
        environment_keys: Iterable[str],
        file: Path,
        *,
        clock: Callable[[], float] = time.time,
        stopwatch: Callable[[], float] = time.monotonic,
    ) -> None:
        """`clock` decides what has expired, `stopwatch` when to look at the file again.

        Raises: KeysFileError.
        """
        self._environment = [
            Holder(
                Caller(ENVIRONMENT, f"{ENVIRONMENT}-{number}", frozenset({"admin"})),
                None,
                _digest(key.encode()),
            )
            for number, key in enumerate(environment_keys, start=1)
        ]
        self._clock = clock
        self._watch = KeysWatch(file, clock=stopwatch)
        self._holders = _holders(self._watch.keys)
        self._demands = bool(self._environment or self._holders)

    def demands_keys(self) -> bool:
        """Whether a key is needed: once there was one, revoked or expired, the service is closed.

        Also looks after the file, at most once a second.
        """
        if self._watch.refresh():
            self._holders = _holders(self._watch.keys)
            self._demands = self._demands or bool(self._holders)
        return self._demands

    def holder(self, key: bytes) -> Holder:
        """Return whose a key is. Raises: KeyUnknownError."""
        found = self._of_file(key)
        digest = _digest(key)
        for holder in self._environment:
            if hmac.compare_digest(digest, holder.digest):
                found = holder
        if found is None:
            raise KeyUnknownError("the API key that came is not one of this service's")
        self._refuse_past(found)
        return found

    def _of_file(self, key: bytes) -> Holder | None:
        """An id that is not known costs the same hash and comparison as one that is."""
        prefix, _, rest = key.partition(b"_")
        key_id, _, secret = rest.partition(b"_")
        holder = self._holders.get(key_id, _NOBODY)
        same = hmac.compare_digest(_digest(secret), holder.digest)
        return holder if same and prefix == PREFIX.encode() and holder is not _NOBODY else None

    def _refuse_past(self, holder: Holder) -> None:
        """Only who has the secret learns what became of the key."""
        if holder.revoked or self._clock() >= holder.expires_at_s:
            became = "was revoked" if holder.revoked else "has expired"
            raise KeyUnknownError(f"the API key {holder.caller.key_id} {became}")


def _holders(keys: Iterable[KeyRecord]) -> dict[bytes, Holder]:
    return {
        key.id.encode(): Holder(
            Caller(key.name, key.id, frozenset(key.roles)),
            key.rate_limit,
            bytes.fromhex(key.sha256),
            key.expires_at.timestamp() if key.expires_at else math.inf,
            key.revoked_at is not None,
        )
        for key in keys
    }


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
