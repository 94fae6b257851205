"""`mpanet keys`: keys made and revoked from the command line, while a service runs."""

import json
import re
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from mpanet.cli import main
from mpanet.commands import keys as command
from service.access.caller import ROLES
from service.access.keys import MAX_PER_MINUTE
from tests.mpanet.serving import environment, service
from tests.service.tiny_artifact import write_tiny_artifact

PATIENCE_S = 60


@pytest.fixture(autouse=True)
def _no_settings_around(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MPANET_DATA", "MPANET_KEYS"):
        monkeypatch.delenv(name, raising=False)


def run_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert main(["keys", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def error_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Return the one line of a command that exits with 2."""
    try:
        code = main(["keys", *arguments])
    except SystemExit as exit_:
        code = int(exit_.code or 0)
    assert code == 2
    captured = capsys.readouterr()
    [line] = captured.err.splitlines()
    assert captured.out == ""
    return line


def test_the_key_is_printed_once_and_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ("--data", str(tmp_path / "new"))
    assert main(["keys", "create", *where, "--name", "door", "--role", "query"]) == 0
    captured = capsys.readouterr()
    assert re.fullmatch("mpanet_[0-9a-f]{12}_[0-9a-f]{64}\n", captured.out)
    secret = captured.out.strip().rpartition("_")[2]
    assert secret not in captured.err
    assert main(["keys", "list", *where]) == 0
    shown = capsys.readouterr().out
    assert "door" in shown
    assert secret not in shown + (tmp_path / "new" / "keys.json").read_text()


def test_what_was_asked_for_is_what_the_list_shows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ("--data", str(tmp_path))
    options = ("--name", "door 7", "--role", "query", "--role", "enroll")
    limits = ("--rate-limit", "60", "--expires-days", "30")
    made = run_json(capsys, "create", *where, *options, *limits)
    assert made.pop("key").split("_")[:2] == ["mpanet", made["id"]]
    assert run_json(capsys, "list", *where) == {"keys": [made]}
    assert (made["name"], made["roles"], made["rate_limit"]) == ("door 7", ["query", "enroll"], 60)
    created, expires = (datetime.fromisoformat(made[f"{at}_at"]) for at in ("created", "expires"))
    assert (expires - created).days == 30
    assert (made["state"], made["revoked_at"]) == ("active", None)
    revoked = run_json(capsys, "revoke", *where, made["id"])
    assert revoked["state"] == "revoked"
    assert run_json(capsys, "list", *where) == {"keys": [revoked]}


def test_the_environment_says_where_the_keys_are_unless_an_option_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make = ("create", "--name", "a", "--role", "admin")
    monkeypatch.setenv("MPANET_DATA", str(tmp_path / "data"))
    run_json(capsys, *make)
    assert (tmp_path / "data" / "keys.json").exists()
    monkeypatch.setenv("MPANET_KEYS", str(tmp_path / "other.json"))
    run_json(capsys, *make)
    assert len(run_json(capsys, "list")["keys"]) == 1
    run_json(capsys, *make, "--keys", str(tmp_path / "third.json"))
    assert {path.name for path in tmp_path.glob("*.json")} == {"other.json", "third.json"}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), "ACTION"),
        (("list",), "expected --data DIR or --keys FILE"),
        (("revoke", "--data", "x"), "ID"),
        (("create", "--data", "x", "--role", "query"), "--name"),
        (("create", "--data", "x", "--name", "a"), "--role"),
        (("create", "--data", "x", "--name", "a", "--role", "root"), "'root'"),
        (("create", "--data", "x", "--name", "a\nb", "--role", "query"), "printable"),
        (("create", "--data", "x", "--name", "environment", "--role", "query"), "environment"),
        *(
            (("create", "--data", "x", "--name", "a", "--role", "query", option, given), given)
            for option, given in (
                ("--rate-limit", "0"),
                ("--rate-limit", "1000001"),
                ("--rate-limit", "1.5"),
                ("--rate-limit", "\u0663"),
                ("--expires-days", "36501"),
                ("--expires-days", "soon"),
            )
        ),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    expected: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert expected in error_of(capsys, *arguments)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_file_is_named_and_an_unknown_id_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ("--data", str(tmp_path))
    run_json(capsys, "create", *where, "--name", "a", "--role", "query")
    assert "came 'abc'" in error_of(capsys, "revoke", *where, "abc")
    (tmp_path / "keys.json").write_text("{")
    damaged = f"{tmp_path / 'keys.json'} is damaged"
    assert damaged in error_of(capsys, "list", *where)
    assert damaged in error_of(capsys, "revoke", *where, "abc")
    assert damaged in error_of(capsys, "create", *where, "--name", "a", "--role", "query")


def test_the_options_are_those_of_the_service() -> None:
    assert command.ROLES == ROLES
    assert command.MAX_PER_MINUTE == MAX_PER_MINUTE


def test_a_running_service_takes_keys_up_and_lets_them_go(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = write_tiny_artifact(tmp_path / "tiny").directory
    data = tmp_path / "data"
    where = ("--data", str(data))
    first = run_json(capsys, "create", *where, "--name", "first", "--role", "query")
    everywhere = environment(MPANET_HOST="0.0.0.0", MPANET_API_KEY="of-the-environment")
    with service(model, data, env=everywhere) as running:
        url = running.url.replace("0.0.0.0", "127.0.0.1")
        with httpx.Client(base_url=url, timeout=PATIENCE_S) as http:

            def status(key: str, path: str = "/models") -> int:
                return http.get(path, headers={"Authorization": f"Bearer {key}"}).status_code

            def comes(key: str, expected: int) -> None:
                give_up = time.monotonic() + PATIENCE_S
                while status(key) != expected:
                    assert time.monotonic() < give_up, f"never {expected}"
                    time.sleep(0.05)

            assert (status(first["key"]), status("of-the-environment")) == (200, 200)
            assert http.get("/models").status_code == 401
            second = run_json(capsys, "create", *where, "--name", "second", "--role", "admin")
            comes(second["key"], 200)
            run_json(capsys, "revoke", *where, first["id"])
            comes(first["key"], 401)
            assert (status(second["key"]), status("of-the-environment")) == (200, 200)
        assert not any(
            "_" + key["key"].rpartition("_")[2] in line
            for key in (first, second)
            for line in running.lines
        )
