"""`mpanet enroll` beside a service that is killed and comes back."""

import json
import subprocess
import sys
from pathlib import Path

from service.client import ServiceClient
from tests.end_to_end.serving import free_port
from tests.mpanet.serving import START_S, environment, service
from tests.service.fakes import crop
from tests.service.tiny_artifact import write_tiny_artifact

CROPS = 150


def test_a_service_that_is_killed_and_comes_back_gets_the_rest(tmp_path: Path) -> None:
    model = write_tiny_artifact(tmp_path / "tiny").directory
    folder = tmp_path / "crops"
    folder.mkdir()
    for seed in range(CROPS):
        (folder / f"{seed:03d}.png").write_bytes(crop(seed))
    port = str(free_port())
    command = [sys.executable, "-m", "mpanet", "enroll", str(folder), "--modality", "visible"]
    command += ["--batch-size", "1", "--json", "--url", f"http://127.0.0.1:{port}"]
    with service(model, tmp_path / "data", "--port", port) as first:
        enrolling = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment()
        )
        with ServiceClient(first.url) as client:
            while len(client.page(limit=5)["entries"]) < 5:
                assert enrolling.poll() is None
        first.process.kill()
        first.process.wait(START_S)
    assert enrolling.poll() is None  # it waits
    with service(model, tmp_path / "data", "--port", port) as second:
        output, _ = enrolling.communicate(timeout=START_S)
        summary = json.loads(output)
        with ServiceClient(second.url) as client:
            assert len(list(client.list())) == CROPS
    assert enrolling.returncode == 0
    assert summary["enrolled"] + summary["already_there"] == CROPS
    assert summary["not_sent"] == 0
