"""A process that records until it is killed and prints what was acknowledged."""

import asyncio
import sys
from pathlib import Path

from service.audit.log import AuditLog
from tests.service.audit.logs import event


async def record_without_end(log: AuditLog, writer: str) -> None:
    number = 0
    while True:
        name = f"{writer}-{number}"
        await log.record(event(entry_ids=(name,), fields={"filler": "x" * (number % 977)}))
        sys.stdout.write(name + "\n")
        number += 1


async def main(directory: Path, prefix: str) -> None:
    log = AuditLog.open(directory, keep_days=30, max_file_bytes=50_000)
    writers = (record_without_end(log, f"{prefix}-{number}") for number in range(8))
    await asyncio.gather(*writers)


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
