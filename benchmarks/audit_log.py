"""What a record of the audit log costs: until it is on the disk, and in processor time.

Writers record queries with ten matches, each its next one when the last is on the disk. `latency`
is of one record; `CPU` is all the process spent for one, both threads and the event loop included;
`a sync` is how many records went to the disk together.

    OMP_NUM_THREADS=1 python -m benchmarks.audit_log --data DIR
"""

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import quantiles

import uvloop

from benchmarks.encoder import processor
from service.audit.event import AuditEvent, ShownEntry
from service.audit.files import LogFile
from service.audit.log import AuditLog

WRITERS = (1, 8, 64)
WARM_UP = 200


@dataclass(frozen=True)
class Row:
    """The cost of a record where so many write at once."""

    writers: int
    records_per_s: float
    p50_ms: float
    p99_ms: float
    cpu_us: float
    records_a_sync: float


class CountingFile(LogFile):
    """A file of the log that counts its syncs."""

    syncs = 0

    def _sync(self) -> None:
        CountingFile.syncs += 1
        super()._sync()


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="a directory on the disk that is asked about")
    parser.add_argument("--records", type=int, default=20_000, help="of each row")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(dir=args.data) as directory:
        rows = [measure(Path(directory) / str(n), n, args.records) for n in WRITERS]
    print(
        f"{processor()}\n\n| writers | records/s | p50 ms | p99 ms | CPU us | a sync |\n|"
        + "---|" * 6
    )
    for row in rows:
        print(
            f"| {row.writers} | {row.records_per_s:,.0f} | {row.p50_ms:.2f} | {row.p99_ms:.2f}"
            f" | {row.cpu_us:.0f} | {row.records_a_sync:.1f} |"
        )
    if args.json:
        document = {"processor": processor(), "rows": [asdict(row) for row in rows]}
        args.json.write_text(json.dumps(document, indent=2))
    return 0


def measure(directory: Path, writers: int, records: int) -> Row:
    """Record so many events, from so many writers at once."""
    log = AuditLog.open(directory, keep_days=1, new_file=CountingFile)
    uvloop.run(_write(log, writers, WARM_UP))
    CountingFile.syncs, cpu, started = 0, time.process_time(), time.perf_counter()
    latencies = uvloop.run(_write(log, writers, records))
    elapsed, cpu = time.perf_counter() - started, time.process_time() - cpu
    log.close()
    cuts = quantiles(latencies, n=100)
    return Row(
        writers=writers,
        records_per_s=len(latencies) / elapsed,
        p50_ms=cuts[49] * 1000,
        p99_ms=cuts[98] * 1000,
        cpu_us=cpu / len(latencies) * 1e6,
        records_a_sync=len(latencies) / CountingFile.syncs,
    )


async def _write(log: AuditLog, writers: int, records: int) -> list[float]:
    latencies: list[float] = []

    async def record(event: AuditEvent) -> None:
        for _ in range(records // writers):
            started = time.perf_counter()
            await log.record(event)
            latencies.append(time.perf_counter() - started)

    await asyncio.gather(*(record(_query(number)) for number in range(writers)))
    return latencies


def _query(writer: int) -> AuditEvent:
    return AuditEvent(
        call="POST /query",
        phase="done",
        request_id=f"{writer:032x}",
        caller="night-desk",
        key_id="0123456789ab",
        client="192.0.2.7",
        status=200,
        fields={"modality": "infrared", "top_k": 10, "target_modality": "any", "rerank": False},
        crops=("ab" * 32,),
        shown=tuple(ShownEntry(f"entry-{n:04}", f"{n:04}", 0.9 - n / 100) for n in range(10)),
    )


if __name__ == "__main__":
    raise SystemExit(main())
