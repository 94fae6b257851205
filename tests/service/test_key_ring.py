"""Whose a key is: of the file, of the environment, of nobody; while the file changes."""

import hashlib
import hmac
import logging
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from service.access import auth
from service.access.auth import KeyRing
from service.access.caller import Caller, Role
from service.access.keys import KeyRecord, add_key, make_key, read_keys, revoke_key
from service.errors import KeyUnknownError
from tests.service.clock import Clock

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


@pytest.fixture
def stopwatch() -> Clock:
    return Clock()


@pytest.fixture
def now() -> Clock:
    return Clock(NOW.timestamp())


def add(
    path: Path, name: str, *roles: Role, expires_at: datetime | None = None
) -> tuple[bytes, KeyRecord]:
    text, key = make_key(name, roles or ("query",), now=NOW, expires_at=expires_at)
    add_key(path, key)
    return text.encode(), key


def ring(path: Path, stopwatch: Clock, now: Clock, *environment: str) -> KeyRing:
    return KeyRing(environment, path, clock=now, stopwatch=stopwatch)


def test_a_key_of_the_file_is_its_caller(path: Path, stopwatch: Clock, now: Clock) -> None:
    text, key = add(path, "door", "query", "enroll")
    holder = ring(path, stopwatch, now).holder(text)
    assert holder.caller == Caller("door", key.id, frozenset({"query", "enroll"}))


def test_keys_of_the_environment_are_administrators(
    path: Path, stopwatch: Clock, now: Clock
) -> None:
    keys = ring(path, stopwatch, now, "first", "second")
    assert keys.demands_keys()
    for number, text in enumerate([b"first", b"second"], start=1):
        expected = Caller("environment", f"environment-{number}", frozenset({"admin"}))
        assert keys.holder(text).caller == expected


def test_a_key_is_known_by_all_of_it(path: Path, stopwatch: Clock, now: Clock) -> None:
    text, key = add(path, "door")
    other, _ = add(path, "gate")
    keys = ring(path, stopwatch, now)
    secret = text.rpartition(b"_")[2]
    for wrong in (
        text[:-1],
        text + b"0",
        text.upper(),
        secret,
        b"other" + text[6:],
        b"mpanet_" + key.id.encode() + b"_" + other.rpartition(b"_")[2],
        b"mpanet_" + key.id.encode() + b"_" + key.sha256.encode(),
        b"mpanet_ffffffffffff_" + secret,
        b"mpanet__",
        b"\xff",
    ):
        with pytest.raises(KeyUnknownError, match="not one of this service's"):
            keys.holder(wrong)


def test_an_id_nobody_has_takes_the_same_comparison(
    path: Path, stopwatch: Clock, now: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, _ = add(path, "door")
    keys = ring(path, stopwatch, now, "first", "second")
    compared: list[int] = []

    compare_digest = hmac.compare_digest

    def compare(one: bytes, other: bytes) -> bool:
        compared.append(len(one) + len(other))
        return compare_digest(one, other)

    monkeypatch.setattr("service.access.auth.hmac.compare_digest", compare)
    for known in (text, b"first", b"second"):
        keys.holder(known)
    with pytest.raises(KeyUnknownError):
        keys.holder(b"mpanet_ffffffffffff_" + text.rpartition(b"_")[2])
    assert compared == [64, 64, 64] * 4


def test_the_digest_of_nobody_opens_nothing(
    path: Path, stopwatch: Clock, now: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = ring(path, stopwatch, now)
    monkeypatch.setattr(auth, "_digest", lambda _: bytes(32))
    with pytest.raises(KeyUnknownError):
        keys.holder(b"mpanet_ffffffffffff_x")


def test_an_expired_key_opens_nothing(path: Path, stopwatch: Clock, now: Clock) -> None:
    text, key = add(path, "door", expires_at=NOW + timedelta(hours=1))
    keys = ring(path, stopwatch, now)
    now.advance(3599)
    assert keys.holder(text).caller.name == "door"
    now.advance(1)
    with pytest.raises(KeyUnknownError, match=f"{key.id} has expired"):
        keys.holder(text)
    assert keys.demands_keys()


def test_a_revocation_needs_no_restart(path: Path, stopwatch: Clock, now: Clock) -> None:
    text, key = add(path, "door")
    keys = ring(path, stopwatch, now)
    revoke_key(path, key.id, now=NOW)
    stopwatch.advance(0.99)
    assert keys.demands_keys()
    assert keys.holder(text).caller.name == "door"
    stopwatch.advance(0.01)
    assert keys.demands_keys()
    with pytest.raises(KeyUnknownError, match=f"{key.id} was revoked"):
        keys.holder(text)
    with pytest.raises(KeyUnknownError, match="not one of this service's"):
        keys.holder(text[:-1])


def test_a_service_whose_keys_are_all_revoked_stays_closed(
    path: Path, stopwatch: Clock, now: Clock
) -> None:
    _, key = add(path, "door")
    revoke_key(path, key.id, now=NOW)
    assert ring(path, stopwatch, now).demands_keys()


def test_the_first_key_closes_a_running_service_for_good(
    path: Path, stopwatch: Clock, now: Clock
) -> None:
    keys = ring(path, stopwatch, now)
    assert not keys.demands_keys()
    text, _ = add(path, "door")
    stopwatch.advance(1)
    assert keys.demands_keys()
    assert keys.holder(text).caller.name == "door"
    path.write_text('{"format": 1, "keys": []}')
    stopwatch.advance(1)
    assert keys.demands_keys()
    with pytest.raises(KeyUnknownError):
        keys.holder(text)


@pytest.mark.parametrize("damage", ["cut", "gone", "a directory"])
def test_a_file_damaged_meanwhile_leaves_the_keys_of_before(
    path: Path, stopwatch: Clock, now: Clock, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    text, key = add(path, "door")
    keys = ring(path, stopwatch, now)
    whole = path.read_bytes()
    if damage == "cut":
        path.write_bytes(whole[:-20])
    else:
        path.unlink()
    if damage == "a directory":
        path.mkdir()
    for _ in range(3):
        stopwatch.advance(1)
        assert keys.demands_keys()
        assert keys.holder(text).caller.name == "door"
    [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert str(path) in record.getMessage()
    if damage == "a directory":
        path.rmdir()
    path.write_bytes(whole)
    revoke_key(path, key.id, now=NOW)
    stopwatch.advance(1)
    assert keys.demands_keys()
    with pytest.raises(KeyUnknownError, match="revoked"):
        keys.holder(text)


def test_the_file_is_looked_at_once_a_second_and_read_when_it_changed(
    path: Path, stopwatch: Clock, now: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(path, "door")
    keys = ring(path, stopwatch, now)
    reads: list[Path] = []

    def counted(read: Path) -> tuple[KeyRecord, ...]:
        reads.append(read)
        return read_keys(read)

    monkeypatch.setattr("service.access.keys_watch.read_keys", counted)
    for _ in range(50):
        stopwatch.advance(0.1)
        keys.demands_keys()
    assert reads == []
    add(path, "gate")
    for _ in range(50):
        stopwatch.advance(0.1)
        keys.demands_keys()
    assert reads == [path]


def test_a_file_written_in_place_is_noticed_although_its_length_is_the_same(
    path: Path, stopwatch: Clock, now: Clock
) -> None:
    text, _ = add(path, "door", "query")
    keys = ring(path, stopwatch, now)
    path.write_bytes(path.read_bytes().replace(b'"query"', b'"admin"'))
    stopwatch.advance(1)
    assert keys.demands_keys()
    assert keys.holder(text).caller.roles == {"admin"}


def test_a_file_that_others_may_read_is_warned_of(
    path: Path, stopwatch: Clock, now: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    add(path, "door")
    ring(path, stopwatch, now)
    assert caplog.records == []
    path.chmod(0o644)
    ring(path, stopwatch, now)
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert f"{path} is open to others" in record.getMessage()
    assert "644" in record.getMessage()


def test_the_hash_in_the_file_is_not_a_key(path: Path, stopwatch: Clock, now: Clock) -> None:
    text, key = add(path, "door")
    assert key.sha256 == hashlib.sha256(text.rpartition(b"_")[2]).hexdigest()
    assert os.fspath(path) not in key.model_dump_json()
    assert key.sha256 not in repr(key)
