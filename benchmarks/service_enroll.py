"""`mpanet enroll` of a folder, as a user runs it: how fast, and in how much memory."""

import json
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Sequence
from pathlib import Path

from benchmarks.service_crops import Crop
from benchmarks.service_process import cpu_s, environment, memory_mb

JPEG_START = b"\xff\xd8"
PNG_END_BYTES = 12
FILES_A_FOLDER = 1000
POLL_S = 0.05


def write_folder(directory: Path, crops: Sequence[Crop], count: int) -> Path:
    """Write so many different files: the crops over and over, each with another comment in it."""
    for index in range(count):
        content = crops[index % len(crops)].content
        is_jpeg = content.startswith(JPEG_START)
        folder = directory / f"{index // FILES_A_FOLDER:03d}"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{index:06d}.{'jpg' if is_jpeg else 'png'}"
        path.write_bytes((_jpeg if is_jpeg else _png)(content, f"copy {index}".encode()))
    return directory


def enroll(directory: Path, port: int, options: Sequence[str] = ()) -> dict[str, float]:
    """Enrol a folder; returns crops a second, the command's own processor time and memory."""
    command = [sys.executable, "-m", "mpanet", "enroll", str(directory), "--modality", "visible"]
    command += ["--url", f"http://127.0.0.1:{port}", "--json", *options]
    started = time.perf_counter()
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.DEVNULL, env=environment()
        )
        peak_mb, taken_s = 0.0, 0.0
        while process.poll() is None:  # its rusage would count this process's memory before exec
            peak_mb = max(peak_mb, memory_mb(process.pid, "VmHWM"))
            taken_s = max(taken_s, cpu_s(process.pid))
            time.sleep(POLL_S)
        seconds = time.perf_counter() - started
        output.seek(0)
        summary = json.loads(output.read())
    crops = summary["enrolled"] + summary["already_there"]
    return {
        "enrolled": summary["enrolled"],
        "already_there": summary["already_there"],
        "refused": len(summary["refused"]),
        "per_s": crops / seconds,
        "seconds": seconds,
        "cpu_ms": taken_s / max(1, crops) * 1000,
        "peak_mb": peak_mb,
    }


def _jpeg(content: bytes, comment: bytes) -> bytes:
    segment = b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment
    return JPEG_START + segment + content[len(JPEG_START) :]


def _png(content: bytes, comment: bytes) -> bytes:
    body = b"tEXtComment\0" + comment
    chunk = (len(body) - 4).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")
    return content[:-PNG_END_BYTES] + chunk + content[-PNG_END_BYTES:]
