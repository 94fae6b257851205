"""The log on the disk: its chain, its files, and what it does when it cannot write."""

import asyncio
import errno
import hashlib
import json
import threading
from datetime import timedelta
from pathlib import Path

import pytest

from gallery_index.errors import GalleryError, GalleryLockedError, StorageFullError
from service.audit.chain_writer import ChainWriter
from service.audit.event import AuditEvent, ShownEntry, body_of
from service.audit.files import LogFile
from service.audit.log import AuditLog
from service.audit.verification import verify
from service.errors import AuditUnavailableError
from tests.service.audit.logs import Clock, calls_of, event, files_of, lines_of, write


class WatchedFile(LogFile):
    """Counts its syncs; held back while `gate` is clear."""

    syncs = 0
    gate = threading.Event()
    syncing = threading.Event()

    def _sync(self) -> None:
        type(self).syncs += 1
        type(self).syncing.set()
        assert type(self).gate.wait(10)
        super()._sync()


class FailingFile(LogFile):
    """Fails with `error` while one is set: at half of a write, or at a sync."""

    error: int | None = None
    at_sync = False
    room = True

    def reserve(self) -> None:
        if not type(self).room:
            raise OSError(errno.ENOSPC, "No space left on device")
        super().reserve()

    def _write(self, data: bytes) -> None:
        if type(self).error is not None and not self.at_sync:
            super()._write(data[: len(data) // 2])
            raise OSError(type(self).error, "injected")
        super()._write(data)

    def _sync(self) -> None:
        if type(self).error is not None:
            raise OSError(type(self).error, "injected")
        super()._sync()


@pytest.fixture
def failing() -> type[FailingFile]:
    class Failing(FailingFile):
        pass

    return Failing


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "data" / "audit"


def test_a_record_says_who_did_what_to_whom_and_when(directory: Path) -> None:
    log = AuditLog.open(directory, keep_days=30, clock=Clock())
    done = AuditEvent(
        call="POST /query",
        phase="done",
        request_id="abc",
        caller="night-desk",
        key_id="k1",
        client="192.0.2.7",
        status=200,
        person_ids=("0001",),
        fields={"modality": "infrared", "top_k": 10},
        crops=("ab" * 32,),
        shown=(ShownEntry("e1", None, 0.12345678),),
        counts={"shown": 1},
    )
    write(log, [done])
    log.close()
    begun, line = lines_of(directory)
    assert (begun["sequence"], begun["kind"], begun["reason"]) == (1, "file", "start")
    assert begun["previous"] == "0" * 64
    raw = files_of(directory)[0].read_bytes().splitlines()[0]
    assert line == {
        "sequence": 2,
        "time": "2026-11-25T12:00:00.123Z",
        "previous": hashlib.sha256(raw).hexdigest(),
        "kind": "call",
        "phase": "done",
        "call": "POST /query",
        "status": 200,
        "caller": "night-desk",
        "key_id": "k1",
        "client": "192.0.2.7",
        "request_id": "abc",
        "person_ids": ["0001"],
        "fields": {"modality": "infrared", "top_k": 10},
        "crops": ["ab" * 32],
        "counts": {"shown": 1},
        "shown": [{"entry_id": "e1", "person_id": None, "similarity": 0.123457}],
    }


def test_a_record_is_on_the_disk_when_it_is_acknowledged(directory: Path) -> None:
    log = AuditLog.open(directory, keep_days=30)
    for number in range(3):
        write(log, [event(number)])
        assert calls_of(directory)[-1]["request_id"] == f"r{number}"
    log.close()


def test_a_name_with_a_newline_stays_in_its_line(directory: Path) -> None:
    log = AuditLog.open(directory, keep_days=30)
    write(log, [event(entry_ids=('e"1\n{"sequence":9}\u2028',))])
    log.close()
    assert calls_of(directory)[0]["entry_ids"] == ['e"1\n{"sequence":9}\u2028']
    assert verify(directory).damage is None


def test_who_waits_at_once_shares_one_sync(directory: Path) -> None:
    class Watched(WatchedFile):
        syncs = 0
        gate = threading.Event()
        syncing = threading.Event()

    log = AuditLog.open(directory, keep_days=30, new_file=Watched)

    async def record_all() -> None:
        first = asyncio.create_task(log.record(event(0)))
        await asyncio.to_thread(Watched.syncing.wait, 10)
        others = [asyncio.create_task(log.record(event(number))) for number in range(1, 65)]
        await asyncio.sleep(0)  # each has handed its event over
        assert not any(task.done() for task in (first, *others))
        Watched.gate.set()
        await asyncio.gather(first, *others)

    asyncio.run(record_all())
    log.close()
    assert Watched.syncs == 2
    assert len(calls_of(directory)) == 65


def test_every_opening_goes_on_with_the_chain_in_a_new_file(directory: Path) -> None:
    for number in range(3):
        log = AuditLog.open(directory, keep_days=30, clock=Clock())
        write(log, [event(number)])
        log.close()
    assert [line["sequence"] for line in lines_of(directory)] == [1, 2, 3, 4, 5, 6]
    assert [path.name for path in files_of(directory)] == [
        "000000000001-2026-11-25.jsonl",
        "000000000003-2026-11-25.jsonl",
        "000000000005-2026-11-25.jsonl",
    ]
    found = verify(directory)
    assert (found.damage, found.lines, found.files) == (None, 6, 3)


def test_a_log_that_nothing_was_written_to_has_no_file(directory: Path) -> None:
    log = AuditLog.open(directory, keep_days=30)
    asyncio.run(log.check())
    log.close()
    assert files_of(directory) == []
    assert verify(directory).damage is None


def test_a_second_process_is_told_who_has_the_log(directory: Path) -> None:
    log = AuditLog.open(directory, keep_days=30)
    with pytest.raises(GalleryLockedError, match="in use by process"):
        AuditLog.open(directory, keep_days=30)
    log.close()
    AuditLog.open(directory, keep_days=30).close()


def test_a_new_file_is_begun_each_day_and_at_its_size(directory: Path) -> None:
    clock = Clock()
    log = AuditLog.open(directory, keep_days=30, max_file_bytes=600, clock=clock)
    write(log, [event(1)])
    clock.pass_(days=1)
    write(log, [event(number, entry_ids=("e" * 600,)) for number in (2, 3)])
    clock.pass_(days=-3)  # the clock is set back: another day too
    write(log, [event(4)])
    log.close()
    begun = [line["reason"] for line in lines_of(directory) if line["kind"] == "file"]
    assert begun == ["start", "day", "size", "day"]
    assert [path.name[13:23] for path in files_of(directory)] == [
        "2026-11-25",
        "2026-11-26",
        "2026-11-26",
        "2026-11-23",
    ]
    assert verify(directory).damage is None


def test_whole_files_expire_and_their_expiry_is_recorded(directory: Path) -> None:
    clock = Clock()
    log = AuditLog.open(directory, keep_days=2, clock=clock)
    for number in range(4):
        write(log, [event(number)])
        clock.pass_(days=1)
    write(log, [event(4)])  # on day 4: days 0 and 1 are older than two days
    log.close()
    assert [line["request_id"] for line in calls_of(directory)] == ["r2", "r3", "r4"]
    expired = [line for line in lines_of(directory) if line["kind"] == "expired"]
    assert [line["file"][13:23] for line in expired] == ["2026-11-25", "2026-11-26"]
    assert expired[-1]["last_hash"] == lines_of(directory)[0]["previous"]
    found = verify(directory)
    assert found.damage is None
    assert found.first == 5


def test_an_idle_log_expires_at_its_next_opening(directory: Path) -> None:
    clock = Clock()
    log = AuditLog.open(directory, keep_days=2, clock=clock)
    write(log, [event(1)])
    log.close()
    clock.pass_(days=10)
    AuditLog.open(directory, keep_days=2, clock=clock).close()
    assert [line["kind"] for line in lines_of(directory)] == ["file", "expired"]
    assert verify(directory).damage is None


def test_an_open_log_expires_while_nobody_calls(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Watched(WatchedFile):
        gate = threading.Event()
        syncing = threading.Event()

    monkeypatch.setattr("service.audit.log.UPKEEP_S", 0.01)
    Watched.gate.set()
    clock = Clock()
    log = AuditLog.open(directory, keep_days=2, clock=clock, new_file=Watched)
    write(log, [event(1)])
    Watched.syncing.clear()
    clock.pass_(days=10)
    assert Watched.syncing.wait(10)
    log.close()
    assert [line["kind"] for line in lines_of(directory)] == ["file", "expired"]


def test_what_cannot_be_recorded_as_expired_stays_until_next_day(
    tmp_path: Path, failing: type[FailingFile]
) -> None:
    clock = Clock()
    writer = ChainWriter(
        tmp_path, keep_days=2, max_file_bytes=10_000, clock=clock, new_file=failing
    )
    writer.write([body_of(event(1))])
    clock.pass_(days=10)
    failing.error = errno.EIO
    writer.expire()
    failing.error = None
    writer.expire()
    assert [line["request_id"] for line in calls_of(tmp_path)] == ["r1"]
    clock.pass_(days=1)
    writer.expire()
    writer.close()
    assert [line["kind"] for line in lines_of(tmp_path)] == ["file", "expired"]
    assert verify(tmp_path).damage is None


def test_a_clock_that_is_behind_deletes_nothing(directory: Path) -> None:
    clock = Clock()
    log = AuditLog.open(directory, keep_days=2, clock=clock)
    write(log, [event(1)])
    clock.pass_(days=-4000)
    write(log, [event(2)])
    log.close()
    assert [line["request_id"] for line in calls_of(directory)] == ["r1", "r2"]


@pytest.mark.parametrize("at_sync", [False, True])
def test_after_a_failure_a_new_file_goes_on_with_what_was_acknowledged(
    directory: Path, failing: type[FailingFile], at_sync: bool
) -> None:
    failing.at_sync = at_sync
    log = AuditLog.open(directory, keep_days=30, new_file=failing)
    write(log, [event(1)])
    failing.error = errno.EIO
    for number in (2, 3):
        with pytest.raises(AuditUnavailableError, match="injected") as failure:
            write(log, [event(number)])
        assert not isinstance(failure.value, StorageFullError)
    assert not log.ready
    failing.error = None
    write(log, [event(4)])
    log.close()
    assert [line["request_id"] for line in calls_of(directory)] == ["r1", "r4"]
    assert [line["reason"] for line in lines_of(directory) if line["kind"] == "file"] == [
        "start",
        "failure",
    ]
    found = verify(directory)
    assert (found.damage, found.notes, found.lines) == (None, [], 4)


def test_a_full_disk_is_told_before_a_call_begins_and_gets_over_by_itself(
    directory: Path, failing: type[FailingFile]
) -> None:
    log = AuditLog.open(directory, keep_days=30, new_file=failing)
    write(log, [event(1)])
    asyncio.run(log.check())
    failing.room = False
    write(log, [event(2)])  # of a call that was under way: it goes into what was reserved
    with pytest.raises(StorageFullError, match="No space left"):
        asyncio.run(log.check())
    failing.room = True
    asyncio.run(log.check())
    write(log, [event(3)])
    log.close()
    assert [line["request_id"] for line in calls_of(directory)] == ["r1", "r2", "r3"]
    assert len(files_of(directory)) == 1


def test_what_is_owed_is_written_as_soon_as_that_is_possible(
    directory: Path, failing: type[FailingFile]
) -> None:
    log = AuditLog.open(directory, keep_days=30, new_file=failing)
    write(log, [event(1)])
    failing.error = errno.ENOSPC
    log.owe(event(2))
    with pytest.raises(StorageFullError):
        write(log, [event(3)])
    failing.error = None
    write(log, [event(4)])
    log.owe(event(5))
    log.close()
    assert [line["request_id"] for line in calls_of(directory)] == ["r1", "r2", "r4", "r5"]


def test_what_was_reserved_is_given_back(directory: Path) -> None:
    log = AuditLog.open(directory, keep_days=30)
    write(log, [event(1)])
    [path] = files_of(directory)
    held = path.stat().st_blocks * 512
    log.close()
    assert path.stat().st_blocks * 512 < 64 * 1024
    assert held == path.stat().st_blocks * 512 or held >= 2**20


@pytest.mark.parametrize("torn", [b'{"sequence":4,"ti', b"\x00" * 300])
def test_a_torn_last_line_stays_and_a_new_file_is_begun(directory: Path, torn: bytes) -> None:
    log = AuditLog.open(directory, keep_days=30)
    write(log, [event(1), event(2)])
    log.close()
    [path] = files_of(directory)
    whole = path.read_bytes()
    path.write_bytes(whole + torn)
    log = AuditLog.open(directory, keep_days=30)
    write(log, [event(3)])
    log.close()
    assert path.read_bytes() == whole + torn
    assert json.loads(files_of(directory)[1].read_bytes().splitlines()[0])["sequence"] == 4
    found = verify(directory)
    assert found.damage is None
    assert found.notes == [
        f"{path.name}, line 4: {len(torn)} bytes of a line that was never finished"
    ]


def test_a_file_torn_in_its_first_line_keeps_its_name(directory: Path) -> None:
    clock = Clock()
    AuditLog.open(directory, keep_days=30, clock=clock).close()
    (directory / "000000000001-2026-11-25.jsonl").write_bytes(b'{"seq')
    log = AuditLog.open(directory, keep_days=30, clock=clock)
    write(log, [event(1)])
    log.close()
    assert [path.name for path in files_of(directory)] == [
        "000000000001-2026-11-25-2.jsonl",
        "000000000001-2026-11-25.jsonl",
    ]
    assert verify(directory).damage is None


def test_lines_that_are_gone_stay_missed(directory: Path) -> None:
    log = AuditLog.open(directory, keep_days=30)
    write(log, [event(1), event(2)])
    log.close()
    [path] = files_of(directory)
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    log = AuditLog.open(directory, keep_days=30)
    write(log, [event(3)])
    log.close()
    begun = [line for line in lines_of(directory) if line["kind"] == "file"][-1]
    assert begun["sequence"] == 4
    assert begun["note"] == "line 3 was the last and is not what is there now"
    damage = verify(directory).damage
    assert damage is not None
    assert "expected sequence 3, came 4" in damage


def test_an_event_that_cannot_be_written_down_harms_no_other(directory: Path) -> None:
    log = AuditLog.open(directory, keep_days=30)
    with pytest.raises(ValueError, match="surrogate"):
        write(log, [event(1, entry_ids=("\ud800",))])
    write(log, [event(2)])
    log.close()
    assert [line["request_id"] for line in calls_of(directory)] == ["r2"]


def test_a_closed_log_takes_nothing(directory: Path) -> None:
    log = AuditLog.open(directory, keep_days=30)
    log.close()
    with pytest.raises(AuditUnavailableError, match="closed"):
        write(log, [event(1)])


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(GalleryError, match="file/audit"):
        AuditLog.open(tmp_path / "file" / "audit", keep_days=30)


def test_records_of_a_day_are_kept_for_the_whole_time(directory: Path) -> None:
    clock = Clock()
    log = AuditLog.open(directory, keep_days=30, clock=clock)
    clock.now = clock.now.replace(hour=23, minute=59)
    write(log, [event(1)])
    clock.now += timedelta(days=30)
    write(log, [event(2)])
    assert [line["request_id"] for line in calls_of(directory)] == ["r1", "r2"]
    log.close()
