"""The keys file: what is kept of a key, and what is refused."""

import hashlib
import json
import multiprocessing
import os
import re
from datetime import UTC, datetime, timedelta
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from service.access.caller import Role
from service.access.keys import (
    KeyRequestError,
    KeysFileError,
    add_key,
    make_key,
    read_keys,
    revoke_key,
)
from service.settings import SettingsError, load_settings

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def new_key(path: Path, name: str = "door", *roles: Role) -> str:
    text, key = make_key(name, roles or ("query",), now=NOW)
    add_key(path, key)
    return text


def test_the_file_has_the_hash_of_the_secret_and_not_the_secret(tmp_path: Path) -> None:
    path = tmp_path / "data" / "keys.json"
    text = new_key(path, "door", "query", "enroll", "query")
    match = re.fullmatch("mpanet_([0-9a-f]{12})_([0-9a-f]{64})", text)
    assert match is not None
    key_id, secret = match.groups()
    assert json.loads(path.read_text()) == {
        "format": 1,
        "keys": [
            {
                "id": key_id,
                "name": "door",
                "roles": ["query", "enroll"],
                "sha256": hashlib.sha256(secret.encode()).hexdigest(),
                "created_at": "2026-03-01T12:00:00Z",
                "expires_at": None,
                "revoked_at": None,
                "rate_limit": None,
            }
        ],
    }
    assert secret not in path.read_text()


def test_only_the_owner_may_read_it_whatever_the_umask(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    before = os.umask(0)
    try:
        new_key(path)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_revoked_key_keeps_the_time_of_its_first_revocation(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    new_key(path, "one")
    new_key(path, "two")
    one, two = read_keys(path)
    later = NOW + timedelta(days=1)
    assert revoke_key(path, one.id, now=NOW).revoked_at == NOW
    assert revoke_key(path, one.id, now=later).revoked_at == NOW
    assert [key.state(later) for key in read_keys(path)] == ["revoked", "active"]
    assert read_keys(path)[1] == two


def test_a_key_expires_at_its_time_and_not_before() -> None:
    _, key = make_key("door", ["query"], now=NOW, expires_at=NOW + timedelta(days=1))
    assert key.state(NOW + timedelta(hours=23)) == "active"
    assert key.state(NOW + timedelta(days=1)) == "expired"


def test_an_unknown_id_cannot_be_revoked(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    new_key(path)
    with pytest.raises(KeyRequestError, match=r"keys\.json, came 'nothing'"):
        revoke_key(path, "nothing", now=NOW)


@pytest.mark.parametrize("name", ["", "  ", "x" * 101, "a\nb", "anonymous", " door", "Environment"])
def test_a_name_that_would_mislead_the_audit_log_is_refused(name: str) -> None:
    with pytest.raises(KeyRequestError, match="name: expected"):
        make_key(name, ["query"], now=NOW)


SOUND = {
    "id": "0123456789ab",
    "name": "door",
    "roles": ["query"],
    "sha256": "0" * 64,
    "created_at": "2026-03-01T12:00:00Z",
}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"\xff\xfe",
        b'{"format": 1, "keys": [',
        b'{"format": 2, "keys": []}',
        b'{"format": 1}',
        *(
            json.dumps({"format": 1, "keys": keys}).encode()
            for keys in (
                [{**SOUND, "id": "../../etc"}],
                [{**SOUND, "roles": []}],
                [{**SOUND, "roles": ["root"]}],
                [{**SOUND, "sha256": "00"}],
                [{**SOUND, "created_at": "yesterday"}],
                [{**SOUND, "expires_at": "2026-03-01T12:00:00"}],
                [{**SOUND, "rate_limit": 0}],
                [{**SOUND, "secret": "x"}],
                [SOUND, SOUND],
            )
        ),
    ],
)
def test_a_damaged_file_is_refused_by_name_and_left_as_it_is(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "keys.json"
    path.write_bytes(content)
    with pytest.raises(KeysFileError, match=r"keys\.json is damaged"):
        read_keys(path)
    with pytest.raises(KeysFileError, match=r"keys\.json is damaged"):
        new_key(path)
    assert path.read_bytes() == content
    with pytest.raises(SettingsError, match=r"^the keys file .*keys\.json is damaged") as caught:
        load_settings({"model": "m", "data": str(tmp_path)}, {})
    assert "\n" not in str(caught.value)


def test_a_damaged_hash_is_not_shown(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_text(json.dumps({"format": 1, "keys": [{**SOUND, "sha256": "abcdef"}]}))
    with pytest.raises(KeysFileError, match=r"keys\.0\.sha256") as caught:
        read_keys(path)
    assert "abcdef" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "keys.json").mkdir()
    with pytest.raises(KeysFileError, match=r"keys\.json cannot be read: Is a directory"):
        read_keys(tmp_path / "keys.json")


def test_a_file_that_is_not_there_has_no_keys(tmp_path: Path) -> None:
    assert read_keys(tmp_path / "keys.json") == ()


def test_a_write_that_fails_leaves_the_file_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "keys.json"
    new_key(path)
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("service.access.keys.os.fsync", full)
    with pytest.raises(KeysFileError, match=r"keys\.json cannot be written: No space left"):
        new_key(path)
    assert path.read_bytes() == before
    assert {found.name for found in tmp_path.iterdir()} == {"keys.json", "keys.json.lock"}


def test_the_new_file_is_durable_by_name_before_the_key_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "keys.json"
    seen: list[tuple[Path, int]] = []
    monkeypatch.setattr(
        "service.access.keys.sync_directory",
        lambda directory: seen.append((directory, len(read_keys(path)))),
    )
    new_key(path)
    assert seen == [(tmp_path, 1)]


def _make_several(path: Path, name: str, start: Barrier) -> None:
    start.wait(60)
    for number in range(20):
        new_key(path, f"{name}-{number}")


def test_processes_that_make_keys_at_once_lose_none(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(2)  # or the first is done before the second has begun
    makers = [context.Process(target=_make_several, args=(path, name, start)) for name in "ab"]
    for maker in makers:
        maker.start()
    for maker in makers:
        maker.join(60)
    assert [maker.exitcode for maker in makers] == [0, 0]
    names = {key.name for key in read_keys(path)}
    assert names == {f"{name}-{number}" for name in "ab" for number in range(20)}


def test_keys_of_the_file_open_the_service_to_other_machines(tmp_path: Path) -> None:
    settings = {"model": "m", "data": str(tmp_path), "host": "0.0.0.0"}
    with pytest.raises(SettingsError, match="mpanet keys create"):
        load_settings(settings, {})
    new_key(tmp_path / "keys.json")
    assert load_settings(settings, {}).keys_file == tmp_path / "keys.json"
    new_key(tmp_path / "other.json")
    elsewhere = {**settings, "data": "d", "keys": str(tmp_path / "other.json")}
    assert load_settings(elsewhere, {}).host == "0.0.0.0"
