"""Clients that dawdle, leave or never read: the others are served, and what they left is dropped.

Everything over real sockets. The service gives a request READ_S to arrive; the encoder counts what
reaches it, so that work for nobody shows.
"""

import socket
import struct
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.end_to_end.paced_process import Pace, Paced, paced
from tests.end_to_end.process_figures import MIB, settled
from tests.end_to_end.wire import Answer, Wire, form, head, post, upload
from tests.service.fakes import crop
from tests.service.hostile.files import saved
from tests.service.hostile.victim import check_problem

READ_S = 1.0
PATIENCE_S = 20.0
"""How long a connection may outlive READ_S before a test says that it is held for ever."""
CONNECTIONS = 400
pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Paced]:
    directory = tmp_path_factory.mktemp("slow")
    options = ["--read-timeout-s", str(READ_S), "--max-connections", str(CONNECTIONS + 100)]
    with paced(directory, *options, pace=Pace(batch_ms=5)) as service:
        service.serve_good()
        yield service


@contextmanager
def returning(service: Paced, most_bytes: int = 32 * MIB) -> Iterator[None]:
    """Descriptors come back; memory up to what the allocator keeps of hundreds of connections."""
    service.serve_good()
    before = service.figures
    yield
    after = settled(service.process.pid, before.descriptors, before.rss_bytes + most_bytes)
    assert after.descriptors <= before.descriptors, (before, after)
    assert after.rss_bytes - before.rss_bytes < most_bytes, (before, after)
    service.serve_good()


@contextmanager
def wires(service: Paced, count: int, start: bytes = b"") -> Iterator[list[Wire]]:
    """Hold many connections, each of which has sent the same."""
    with ExitStack() as stack:
        held = [stack.enter_context(Wire(service.url)) for _ in range(count)]
        for wire in held:
            wire.send(start)
        yield held


def check_closes(wire: Wire, began: float) -> None:
    """A connection must be closed by the service, about READ_S after it began."""
    wire.socket.settimeout(READ_S + PATIENCE_S)
    answer = wire.answer()
    assert answer is None or answer.status == 408, answer
    if answer is not None:
        assert check_problem(answer)["code"] == "slow_request"
        assert wire.closed()
    assert time.monotonic() - began < READ_S + PATIENCE_S


STARTS = {
    "nothing": b"",
    "half a line": b"POST /embed HT",
    "half the headers": head("POST", "/embed", Content_Type="multipart/form-data")[:-2] + b"X-a: ",
    "no body": post("/embed", b"", Content_Length=100_000),
    "half a body": post("/gallery", form({"modality": "visible"})[:40], Content_Length=100_000),
    "half a chunk": head(
        "POST", "/query", Content_Type="multipart/form-data; boundary=wire",
        Transfer_Encoding="chunked",
    ) + b"400\r\n--wire",
    "half a patch": head("PATCH", "/gallery/x", Content_Length=1000) + b'{"person_id": "a',
}  # fmt: skip


@pytest.mark.parametrize("name", STARTS)
def test_hundreds_who_send_no_more_are_closed_and_others_served_meanwhile(
    service: Paced, name: str
) -> None:
    with returning(service):
        began = time.monotonic()
        with wires(service, CONNECTIONS, STARTS[name]) as held:
            for seed in range(5):
                service.serve_good(seed)
            for wire in held:
                check_closes(wire, began)


def test_headers_a_byte_at_a_time_do_not_buy_more_time(service: Paced) -> None:
    with returning(service), wires(service, 20) as held:
        began = time.monotonic()
        trickle = iter(b"GET /healthz HTTP/1.1\r\n" + b"X: y\r\n" * 1000)
        while any([wire.send(byte) for byte in [bytes([next(trickle)])] for wire in held]):  # noqa: C419  each of them sends
            assert time.monotonic() - began < READ_S + PATIENCE_S, "the trickle goes on"
            time.sleep(0.05)


def test_a_body_a_byte_at_a_time_is_answered_when_its_time_is_over(service: Paced) -> None:
    with returning(service), Wire(service.url) as wire:
        began = time.monotonic()
        wire.send(post("/embed", form({}, ("file", b""))[:-12], Content_Length=100_000))
        wire.socket.settimeout(0.05)
        while (answer := _answer_by_now(wire)) is None:
            wire.send(b"x")
            assert time.monotonic() - began < READ_S + PATIENCE_S, "the trickle goes on"
        assert answer.status == 408, answer
        assert check_problem(answer)["code"] == "slow_request"


def _answer_by_now(wire: Wire) -> Answer | None:
    """Return the answer, if it came within the timeout of the socket."""
    try:
        answer = wire.answer()
    except TimeoutError:
        return None
    assert answer is not None, "the connection was closed without an answer"
    return answer


@pytest.mark.parametrize(
    "request_",
    [post("/embed", b"", Content_Length=10**12), head("GET", "/healthz", Content_Length=10**6)],
)
def test_a_body_that_never_ends_does_not_hold_its_connection_after_the_answer(
    service: Paced, request_: bytes
) -> None:
    with returning(service), wires(service, 50, request_) as held:
        began = time.monotonic()
        for wire in held:
            assert wire.answer() is not None
            wire.send(b"x")
        for wire in held:
            wire.socket.settimeout(READ_S + PATIENCE_S)
            assert wire.closed(), "the service sent more"
            assert time.monotonic() - began < READ_S + PATIENCE_S


def test_idle_connections_are_closed_and_new_ones_served(service: Paced) -> None:
    with returning(service), wires(service, CONNECTIONS, head("GET", "/healthz")) as held:
        for wire in held:
            answer = wire.answer()
            assert answer is not None
            assert answer.status == 200
        service.serve_good()
        for wire in held:
            wire.socket.settimeout(READ_S + PATIENCE_S)
            assert wire.closed()


def test_more_connections_than_may_be_are_told_so(tmp_path: Path) -> None:
    with paced(tmp_path, "--max-connections", "20", "--read-timeout-s", "5") as service:
        with wires(service, 20) as held:
            answer = service.ask(head("GET", "/healthz"))
            assert answer.status == 503, answer
            assert check_problem(answer)["code"] == "too_many_connections"
            assert int(answer.headers["retry-after"]) >= 1
            answered = held[0].ask(head("GET", "/healthz"))
            assert answered is not None
            assert answered.status == 200
        settled(service.process.pid, 20)
        service.serve_good()


def test_pipelined_requests_are_answered_in_order_and_hold_nothing_up(service: Paced) -> None:
    request, count = head("GET", "/healthz"), 500
    with returning(service), Wire(service.url) as wire:
        wire.send(request * count + upload("/embed", crop(1)))
        service.serve_good()
        answers = [wire.answer() for _ in range(count + 1)]
    assert {answer.status for answer in answers if answer is not None} == {200}
    assert answers[-1] is not None
    assert answers[-1].json()["dimension"] > 0


@pytest.mark.parametrize("path", ["/gallery/large/crop", "/openapi.json"])
def test_who_never_reads_the_answer_is_closed_and_its_memory_returns(
    service: Paced, path: str
) -> None:
    """Each answer is longer than the buffers of a socket, so it must wait in the service."""
    noise = np.random.default_rng(1).integers(0, 256, (900, 900, 3), dtype=np.uint8)
    large = saved(Image.fromarray(noise), "PNG")
    request = upload("/gallery", large, entry_id="large")
    assert service.ask(request).status == 201
    before = service.figures.descriptors
    with returning(service), ExitStack() as stack:
        for _ in range(40):
            wire = stack.enter_context(Wire(service.url))
            wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            wire.send(head("GET", path) * 50)
        service.serve_good()
        after = settled(service.process.pid, before)
        assert after.descriptors <= before, "the connections are held"
    assert service.ask(head("DELETE", "/gallery/large")).status == 204


def leave(wire: Wire, how: str) -> None:
    """Close a connection: as usual, or with a reset."""
    if how == "reset":
        wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wire.close()


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_who_leaves_before_all_is_sent_costs_the_encoder_nothing(
    service: Paced, how: str, share: float
) -> None:
    request = upload("/gallery", crop(7), entry_id="never")
    with returning(service):
        before = len(service.batches())
        for _ in range(100):
            wire = Wire(service.url)
            wire.send(request[: int(len(request) * share)])
            leave(wire, how)
        service.serve_good()
        assert len(service.batches()) == before + 1
    assert "never" not in service.listed()


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("path", ["/query", "/gallery"])
def test_who_leaves_while_waiting_is_dropped_before_it_costs_anything(
    service: Paced, how: str, path: str
) -> None:
    """One batch is held; 60 requests wait behind it and leave; only one who stays follows."""
    with returning(service), ThreadPoolExecutor(2) as threads:
        before, dropped = len(service.batches()), service.metric("crops_dropped_total")
        with service.switched("held"):
            first = threads.submit(service.ask, upload("/query", crop(1)))
            while len(service.batches()) == before:
                time.sleep(0.01)
            with wires(service, 60, upload(path, crop(2))) as waiting:
                service.wait_for("queue_crops", 60)
                for wire in waiting:
                    leave(wire, how)
                service.wait_for("queue_crops", 0)
            last = threads.submit(service.ask, upload("/query", crop(3)))
            service.wait_for("queue_crops", 1)
        assert [first.result().status, last.result().status] == [200, 200]
        assert service.batches()[before:] == [1, 1]
        assert service.metric("crops_dropped_total", reason="client_left") - dropped == 60
    assert service.listed() == set()


@pytest.mark.parametrize("how", ["close", "reset"])
def test_who_leaves_while_being_encoded_or_before_reading_harms_nobody(
    service: Paced, how: str
) -> None:
    with returning(service):
        for round_ in range(5):
            before = len(service.batches())
            held = [Wire(service.url) for _ in range(10)]
            with service.switched("held"):
                for wire in held:
                    wire.send(upload("/query", crop(round_)))
                while len(service.batches()) == before:
                    time.sleep(0.01)
                for wire in held[:5]:
                    leave(wire, how)  # one of them is being encoded
            for wire in held[5:]:
                assert wire.socket.recv(1)  # the answer has begun
                leave(wire, how)


def test_who_closes_one_half_after_asking_is_served_or_dropped(service: Paced) -> None:
    """A closed half may mean that a client left: no answer is owed, but nothing may be left."""
    with returning(service):
        for _ in range(50):
            with Wire(service.url) as wire:
                wire.send(upload("/query", crop(1)))
                wire.end_sending()
                answer = wire.answer()
                assert answer is None or answer.status == 200, answer
