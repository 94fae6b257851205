"""A killed process loses no record that it acknowledged, and leaves a chain that goes on."""

import os
import random
import resource
import subprocess
import sys
from pathlib import Path

from service.audit.files import log_names
from service.audit.verification import verify
from tests.service.audit.logs import calls_of

KILLS = 8


def start(
    directory: Path, prefix: str, *, max_file_bytes: int | None = None
) -> subprocess.Popen[str]:
    def limit() -> None:
        if max_file_bytes is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (max_file_bytes, max_file_bytes))

    return subprocess.Popen(
        [sys.executable, "-m", "tests.service.audit.writing_process", str(directory), prefix],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        preexec_fn=limit,
    )


def recorded(directory: Path) -> list[str]:
    return [line["entry_ids"][0] for line in calls_of(directory)]


def test_every_acknowledged_record_survives_kill_9(tmp_path: Path) -> None:
    chance = random.Random(1)
    acknowledged: list[str] = []
    for kill in range(KILLS):
        process = start(tmp_path, f"p{kill}")
        assert process.stdout is not None
        for _ in range(chance.randrange(1, 1500)):
            acknowledged.append(process.stdout.readline().strip())
        process.kill()
        rest, _ = process.communicate()
        acknowledged += rest.split("\n")[:-1]  # what it printed whole
        found = verify(tmp_path)
        assert found.damage is None
    there = recorded(tmp_path)
    assert len(there) == len(set(there))
    assert set(acknowledged) <= set(there)
    assert len(log_names(tmp_path)) >= KILLS


def test_a_limit_on_the_size_of_files_ends_in_a_refusal_and_a_sound_log(tmp_path: Path) -> None:
    process = start(tmp_path, "p", max_file_bytes=20_000)
    out, err = process.communicate(timeout=60)
    assert "AuditStorageFullError: the audit log cannot be written" in err
    assert "File too large" in err
    acknowledged = out.split("\n")[:-1]
    assert len(acknowledged) > 10
    assert set(acknowledged) <= set(recorded(tmp_path))
    assert verify(tmp_path).damage is None
