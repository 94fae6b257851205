"""The keys file: hashed API keys, how one is made, written and read. Who may call is `auth`.

A secret has 256 random bits, so one SHA-256 of it is enough: slow hashes protect what a person
thought up, and nobody guesses 2^256. Whoever reads the file cannot call the service with it.
"""

import fcntl
import hashlib
import os
import re
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated, Final, Literal, TypeAlias

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from gallery_index.files.durable_files import sync_directory
from service.access.caller import RESERVED_NAMES, Role

PREFIX: Final = "mpanet"
MAX_NAME: Final = 100
MAX_PER_MINUTE: Final = 1_000_000
KEY_TEXT: Final = re.compile(rf"{PREFIX}_[0-9a-f]{{12}}_[0-9a-f]+")
"""A key, or what was cut off of one, in a text that must not show it."""
_ID_BYTES, _SECRET_BYTES = 6, 32

_Records: TypeAlias = "tuple[KeyRecord, ...]"


class KeysFileError(ValueError):
    """The keys file cannot be read, used or written; the message names it."""


class KeyRequestError(ValueError):
    """A key cannot be made or revoked as asked; the message says what was expected."""


class KeyRecord(BaseModel):
    """What the file knows of one key; `id` is public, `sha256` is of its secret."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    id: str = Field(pattern=r"^[0-9a-f]{12}$")
    name: str = Field(min_length=1, max_length=MAX_NAME)
    roles: Annotated[tuple[Role, ...], Field(min_length=1)]
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", repr=False)
    created_at: AwareDatetime
    expires_at: AwareDatetime | None = None
    revoked_at: AwareDatetime | None = None
    rate_limit: int | None = Field(default=None, ge=1, le=MAX_PER_MINUTE)

    def state(self, now: datetime) -> Literal["active", "expired", "revoked"]:
        """Return whether the key opens anything at a time."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and now >= self.expires_at else "active"


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format: Literal[1] = 1
    keys: _Records

    @model_validator(mode="after")
    def _ids_differ(self) -> "_Document":
        if len({key.id for key in self.keys}) < len(self.keys):
            raise ValueError("two keys have the same id")
        return self


def make_key(
    name: str,
    roles: Sequence[Role],
    *,
    now: datetime,
    expires_at: datetime | None = None,
    rate_limit: int | None = None,
) -> tuple[str, KeyRecord]:
    """Return a new key, `mpanet_ID_SECRET`, and what is kept of it. Raises: KeyRequestError."""
    if not (name.isprintable() and name == name.strip() and 1 <= len(name) <= MAX_NAME):
        raise KeyRequestError(
            f"name: expected 1 to {MAX_NAME} printable characters, no space around, came {name!r}"
        )
    if name.casefold() in RESERVED_NAMES:
        raise KeyRequestError(f"name: expected none of the service's own, came {name!r}")
    key_id, secret = secrets.token_hex(_ID_BYTES), secrets.token_hex(_SECRET_BYTES)
    record = KeyRecord(
        id=key_id,
        name=name,
        roles=tuple(dict.fromkeys(roles)),
        sha256=hashlib.sha256(secret.encode()).hexdigest(),
        created_at=now,
        expires_at=expires_at,
        rate_limit=rate_limit,
    )
    return f"{PREFIX}_{key_id}_{secret}", record


def read_keys(path: Path) -> _Records:
    """Read every key of a file, revoked and expired ones included; a file that is not there: none.

    Raises: KeysFileError.
    """
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise KeysFileError(f"the keys file {path} cannot be read: {error.strerror}") from error
    try:
        return _Document.model_validate_json(text).keys
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole"
        raise KeysFileError(f"the keys file {path} is damaged: {where}: {first['msg']}") from None


def add_key(path: Path, key: KeyRecord) -> None:
    """Put a key into a file, which is made where there is none. Raises: KeysFileError."""
    with _write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    _change(path, lambda keys: (*keys, key))


def revoke_key(path: Path, key_id: str, *, now: datetime) -> KeyRecord:
    """Let a key open nothing any more; one that is revoked already stays as it is.

    Raises: KeysFileError; KeyRequestError if the file has no such key.
    """

    def revoked(key: KeyRecord) -> KeyRecord:
        if key.id != key_id or key.revoked_at is not None:
            return key
        return key.model_copy(update={"revoked_at": now})

    keys = _change(path, lambda keys: tuple(map(revoked, keys)))
    for key in keys:
        if key.id == key_id:
            return key
    raise KeyRequestError(f"expected the id of a key in {path}, came {key_id!r}")


def _change(path: Path, change: Callable[[_Records], _Records]) -> _Records:
    """Read, change and write a file, while no other process does."""
    with _write_errors(path), _locked(path):
        before = read_keys(path)
        after = change(before)
        if after != before:
            _replace(path, _Document(keys=after).model_dump_json(indent=1).encode())
        return after


@contextmanager
def _write_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise KeysFileError(f"the keys file {path} cannot be written: {reason}") from error


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Wait for the lock beside a file; the file itself is replaced, so it cannot be the lock."""
    descriptor = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _replace(path: Path, data: bytes) -> None:
    """Make a file hold `data`, for its owner alone, whole or not at all."""
    temporary = path.with_name(f"{path.name}.tmp")
    temporary.unlink(missing_ok=True)  # a killed process's; the lock is ours
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)
