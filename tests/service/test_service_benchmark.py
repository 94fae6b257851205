"""The service's benchmark: what it sends, what it counts, and that its rates are right."""

import json
import pickle
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks.service_crops import Crop, batch_requests, encoded, single_requests
from benchmarks.service_enroll import write_folder
from benchmarks.service_figures import median_of, percentile, rate_of
from benchmarks.service_load import Job, Load, arrivals, stages
from service.bodies.multipart import MultipartReader
from tests.service.fakes import crop


def test_a_rate_counts_from_the_first_bunch_to_the_last() -> None:
    """Bunches of two at 0, 1 and 2 s: four in two seconds, however the window was cut."""
    assert rate_of([0.0, 0.001, 1.0, 1.001, 2.0, 2.0]) == 2.0
    assert rate_of([0.0, 1.0, 2.0], each=16) == 16.0


@pytest.mark.parametrize("times", [[], [1.0], [1.0, 1.01]])
def test_a_single_bunch_has_no_rate(times: list[float]) -> None:
    assert rate_of(times) == 0.0


def test_percentiles_and_medians() -> None:
    values = [float(value) for value in range(100, 0, -1)]
    assert (percentile(values, 0.5), percentile(values, 0.99)) == (51.0, 100.0)
    assert percentile([], 0.5) == 0.0
    assert median_of([{"a": 1.0}, {"a": 9.0}, {"a": 2.0}]) == {"a": 2.0}


def test_arrivals_come_at_their_rate_in_order() -> None:
    times = list(arrivals(10.0, 110.0, rate=50))
    assert times == sorted(times)
    assert times[0] > 10
    assert times[-1] < 110
    assert 4_700 < len(times) < 5_300  # Poisson: 5,000 give or take 4 sigma


def test_what_is_left_of_a_latency_is_the_services_own() -> None:
    timings = {"decode": 1.0, "queue": 2.0, "embed": 30.0, "search": 4.0, "rerank": 0.0}
    answer = b"HTTP/1.1 200 OK\r\n\r\n" + json.dumps({"timings_ms": timings}).encode()
    assert stages(0.040, answer)["own"] == pytest.approx(40 - 1 - 30 - 4)


def parts(request: bytes) -> tuple[bytes, list[tuple[str, bytes]]]:
    head, _, body = request.partition(b"\r\n\r\n")
    boundary = head.partition(b"boundary=")[2]
    reader = MultipartReader(boundary, max_bytes=10**6)
    reader.feed(body)
    assert b"Content-Length: %d\r\n" % len(body) in head
    return head, [(part.name, bytes(part.data)) for part in reader.finish()]


def test_requests_are_what_the_service_reads() -> None:
    crops = [Crop(crop(seed), modality) for seed, modality in enumerate(["visible", "infrared"])]
    head, found = parts(single_requests("/query", crops)[1])
    assert head.startswith(b"POST /query HTTP/1.1\r\n")
    assert found == [("modality", b"infrared"), ("file", crop(1))]
    [request] = batch_requests(crops, 2)
    _, [(name, entries), *files] = parts(request)
    assert (name, json.loads(entries)) == (
        "entries",
        [{"modality": "visible"}, {"modality": "infrared"}],
    )
    assert files == [("files", crop(0)), ("files", crop(1))]


def test_a_folder_has_different_files_of_the_same_pixels(tmp_path: Path) -> None:
    image = Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3))
    crops = [Crop(encoded(image, png=png), "visible") for png in (False, True)]
    write_folder(tmp_path, crops, 4)
    contents = [path.read_bytes() for path in sorted(tmp_path.rglob("*.*"))]
    assert len(set(contents)) == 4
    for index, content in enumerate(contents):
        copy, original = (
            np.asarray(Image.open(BytesIO(data))) for data in (content, crops[index % 2].content)
        )
        np.testing.assert_array_equal(copy, original)


class Handler(BaseHTTPRequestHandler):
    """Refuses every third request of its connection, and then closes it."""

    protocol_version = "HTTP/1.1"
    count = 0

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        assert body == b"crop"
        self.count += 1
        refused = self.count % 3 == 0
        self.send_response(503 if refused else 200)
        self.send_header("Content-Length", "2")
        if refused:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, format: str, *args: Any) -> None: ...


@contextmanager
def server() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        yield listening.server_address[1]
        listening.shutdown()
        thread.join()


@pytest.mark.parametrize("rate", [None, 300.0])
def test_the_load_generator_counts_what_comes_back(tmp_path: Path, rate: float | None) -> None:
    request = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\ncrop"
    (tmp_path / "requests").write_bytes(pickle.dumps([request]))
    with server() as port:
        job = Job("127.0.0.1", port, str(tmp_path / "requests"), 3, 0.5, warm_s=0, rate=rate)
        found = Load(job).run()
    statuses = [status for _, _, status in found["answers"]]
    assert set(statuses) == {200, 503}
    assert abs(statuses.count(503) - len(statuses) / 3) <= 3  # one a connection may be cut off
    assert found["unanswered"] == 0
    assert found["sent"] >= len(statuses)
