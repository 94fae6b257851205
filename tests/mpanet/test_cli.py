"""The command: usage errors are one line and exit 2, and a missing extra is named."""

import argparse
import sys
from types import ModuleType

import pytest

from mpanet import cli
from mpanet.errors import CommandError


def command_that(run: object) -> ModuleType:
    module = ModuleType("mpanet.commands.demo")
    module.configure = lambda parser: None  # type: ignore[attr-defined]
    module.run = run  # type: ignore[attr-defined]
    return module


def raising(error: BaseException) -> ModuleType:
    def run(args: argparse.Namespace) -> int:
        raise error

    return command_that(run)


@pytest.mark.parametrize("argv", [[], ["frobnicate"], ["demo", "--frobnicate"]])
def test_usage_error_is_one_line_and_exit_2(
    argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        cli.main(argv)
    assert exit_.value.code == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize("name", sorted(cli.COMMANDS))
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        cli.main([name, "--help"])
    assert exit_.value.code == 0
    assert f"mpanet {name}" in capsys.readouterr().out


@pytest.mark.parametrize("exit_code", [1, 2])
def test_command_error_is_its_message_and_its_exit_code(
    exit_code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    error = CommandError("expected a directory, got a file: x", exit_code=exit_code)
    monkeypatch.setitem(sys.modules, "mpanet.commands.demo", raising(error))
    assert cli.main(["demo"]) == exit_code
    assert capsys.readouterr().err == "mpanet demo: error: expected a directory, got a file: x\n"


def test_missing_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    error = ModuleNotFoundError("No module named 'torch.nn'", name="torch.nn")
    monkeypatch.setitem(sys.modules, "mpanet.commands.demo", raising(error))
    assert cli.main(["demo"]) == 2
    assert "torch is not installed; pip install 'mpanet[train]'" in capsys.readouterr().err


def test_missing_module_of_ours_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    error = ModuleNotFoundError("No module named 'model.nothing'", name="model.nothing")
    monkeypatch.setitem(sys.modules, "mpanet.commands.demo", raising(error))
    with pytest.raises(ModuleNotFoundError):
        cli.main(["demo"])


def test_a_name_with_a_line_break_leaves_the_error_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    error = CommandError("no key a\nb")
    monkeypatch.setitem(sys.modules, "mpanet.commands.demo", raising(error))
    assert cli.main(["demo"]) == 2
    assert capsys.readouterr().err == "mpanet demo: error: no key a b\n"
