"""Whatever is done to a log afterwards is found, and where."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from service.audit.log import AuditLog
from service.audit.verification import verify
from tests.service.audit.logs import Clock, event, files_of, write

Lines = list[bytes]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Two days of six lines each: one that begins the file, five calls."""
    clock = Clock()
    log = AuditLog.open(tmp_path, keep_days=30, clock=clock)
    for _ in range(2):
        write(log, [event(number) for number in range(5)])
        clock.pass_(days=1)
    log.close()
    return tmp_path


def change(path: Path, change: Callable[[Lines], Lines]) -> None:
    path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))


def test_an_untouched_log_is_sound(directory: Path) -> None:
    found = verify(directory)
    assert (found.damage, found.lines, found.files, found.first) == (None, 12, 2, 1)
    assert found.last is not None
    assert found.last.sequence == 12


@pytest.mark.parametrize("file", [0, 1])
@pytest.mark.parametrize("line", range(6))
@pytest.mark.parametrize(
    ("old", "new"), [(b'"night-desk"', b'"night-dask"'), (b'"sequence":', b'"sequence": ')]
)
def test_an_altered_line_is_named(
    directory: Path, file: int, line: int, old: bytes, new: bytes
) -> None:
    if line == 0:  # it begins the file and has no caller
        old, new = b'"format":1', b'"format":2'
    path = files_of(directory)[file]
    changed = path.read_bytes().splitlines(keepends=True)[line].replace(old, new)
    change(path, lambda lines: [*lines[:line], changed, *lines[line + 1 :]])
    found = verify(directory)
    assert found.damage is not None
    assert found.damage.startswith(f"{path.name}, line {line + 1}: not what was written")


def test_every_flipped_byte_is_found(directory: Path) -> None:
    path = files_of(directory)[0]
    sound = path.read_bytes()
    for place in range(len(sound)):
        path.write_bytes(sound[:place] + bytes([sound[place] ^ 1]) + sound[place + 1 :])
        assert verify(directory).damage is not None, place
    path.write_bytes(sound)
    assert verify(directory).damage is None


@pytest.mark.parametrize("line", range(6))
def test_a_removed_line_is_found(directory: Path, line: int) -> None:
    for path in files_of(directory):
        sound = path.read_bytes()
        change(path, lambda lines: [*lines[:line], *lines[line + 1 :]])
        assert verify(directory).damage is not None
        path.write_bytes(sound)


def test_swapped_lines_are_found(directory: Path) -> None:
    path = files_of(directory)[1]
    change(path, lambda lines: [*lines[:2], lines[3], lines[2], *lines[4:]])
    assert verify(directory).damage == f"{path.name}, line 3: expected sequence 9, came 10"


@pytest.mark.parametrize("file", [0, 1])
@pytest.mark.parametrize("cut", [1, 10, 400, 100_000])
def test_a_cut_tail_is_found(directory: Path, file: int, cut: int) -> None:
    path = files_of(directory)[file]
    path.write_bytes(path.read_bytes()[:-cut])
    assert verify(directory).damage is not None


@pytest.mark.parametrize("file", [0, 1])
def test_a_removed_file_is_found(directory: Path, file: int) -> None:
    files_of(directory)[file].unlink()
    damage = verify(directory).damage
    assert damage is not None
    assert ("no line says they expired" if file == 0 else "12 lines were written") in damage


def test_a_log_without_any_of_its_files_is_found(directory: Path) -> None:
    for path in files_of(directory):
        path.unlink()
    assert verify(directory).damage == "no line is there, 12 were written"


def test_a_missing_head_is_found(directory: Path) -> None:
    (directory / "head").unlink()
    damage = verify(directory).damage
    assert damage is not None
    assert "head" in damage


def test_a_line_written_anew_with_all_that_follow_differs_from_the_head(directory: Path) -> None:
    path = files_of(directory)[1]
    last = path.read_bytes().splitlines()[-1]
    forged = json.dumps({**json.loads(last), "caller": "somebody"}).encode()
    change(path, lambda lines: [*lines[:-1], forged + b"\n"])
    assert (
        verify(directory).damage
        == f"{path.name}, line 6: not what was written, by its hash in `head`"
    )


def test_a_renamed_file_is_found(directory: Path) -> None:
    path = files_of(directory)[1]
    path.rename(directory / "000000000099-2026-11-26.jsonl")
    assert verify(directory).damage == (
        "000000000099-2026-11-26.jsonl, line 1: expected sequence 99, came 7"
    )


def test_other_files_are_left_alone(directory: Path) -> None:
    (directory / "notes.txt").write_text("hello")
    (directory / "000000000013-2026-13-45.jsonl").write_text("no such day")
    assert verify(directory).damage is None
