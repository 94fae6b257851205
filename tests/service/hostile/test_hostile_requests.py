"""Requests that are hostile before their body: lines, headers, paths, query strings, smuggling."""

import time

import pytest

from tests.end_to_end.process_figures import MIB, figures_of
from tests.end_to_end.wire import Wire, head, post, upload
from tests.service.fakes import crop
from tests.service.hostile.bodies import GOOD
from tests.service.hostile.victim import Victim, check_problem

GET = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
POST = b"POST /embed HTTP/1.1\r\nHost: localhost\r\n"
NO_HTTP = {
    "garbage": b"GARBAGE\r\n\r\n",
    "binary": bytes(range(256)) * 4,
    "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
    "http/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "ssh": b"SSH-2.0-OpenSSH_9.6\r\n",
    "a space in a header's name": GET + b"X Y: 1\r\n\r\n",
    "a null in a header": GET + b"X: a\0b\r\n\r\n",
    "a header on two lines": GET + b"X: a\r\n b\r\n\r\n",
    "a space before the colon": POST + b"Content-Length : 3\r\n\r\nabc",
    "a path of bytes": b"GET /\xff\xfe HTTP/1.1\r\nHost: a\r\n\r\n",
    "a tunnel": b"CONNECT evil.example:443 HTTP/1.1\r\nHost: a\r\n\r\n",
    "a length below zero": POST + b"Content-Length: -1\r\n\r\n",
    "a length with a sign": POST + b"Content-Length: +3\r\n\r\nabc",
    "a length in hex": POST + b"Content-Length: 0x3\r\n\r\nabc",
    "a length of 30 digits": POST + b"Content-Length: " + b"9" * 30 + b"\r\n\r\n",
    "two lengths": POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "a length and chunks": POST
    + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "unknown chunks": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunks of a negative size": POST + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n",
    "chunks of a size beyond 64 bits": POST
    + b"Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF\r\n",
}


@pytest.mark.parametrize("name", NO_HTTP)
def test_what_is_no_request_is_refused_once_and_the_connection_closed(
    target: Victim, name: str
) -> None:
    with Wire(target.url) as wire:
        answer = wire.ask(NO_HTTP[name])
        assert answer is not None
        assert answer.status in {400, 415, 422}, answer
        check_problem(answer)
        rest = wire.answer()
        assert rest is None, f"a second answer: {rest}"
    with Wire(target.url) as wire:
        target.serve_good(wire, 1)


SMUGGLED = b"DELETE /gallery/known-1 HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.mark.parametrize(
    "request_",
    [
        POST + b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n" + SMUGGLED,
        POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" + SMUGGLED,
        POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + SMUGGLED,
        POST + b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
        POST + b"Content-Length: 3\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
        POST + b"Content-Length: 3\r\nContent-Length: 3, 9\r\n\r\nabc" + SMUGGLED,
        b"POST /embed HTTP/1.1\nHost: a\nContent-Length: 0\n\n" + SMUGGLED,
    ],
)
def test_nothing_is_smuggled_behind_an_ambiguous_body(target: Victim, request_: bytes) -> None:
    """What two servers could read as one request or as two is read as none."""
    with Wire(target.url) as wire:
        answer = wire.ask(request_)
        assert answer is None or answer.status == 400, answer
        assert wire.answer() is None
    with Wire(target.url) as wire:
        listed = wire.ask(head("GET", "/gallery/known-1"))
        assert listed is not None
        assert listed.status == 200, "the request behind was carried out"


PATHS = [
    "/gallery/%00", "/gallery/..", "/gallery/../../etc/passwd", "/gallery/..%2f..%2fetc%2fpasswd",
    "/gallery/%2e%2e/crop", "/gallery/known-1%2fcrop%00", "/gallery/%ff%fe/crop", "/gallery/%",
    "/gallery/%ED%A0%80", "/gallery/" + "x" * 60_000, "/gallery/known-1%0d%0aX-Evil:%201",
    "/gallery/known-1;a=b", "/gallery/..%5c..%5cwindows", "/gallery//known-1", "/gallery/",
    "//evil.example/healthz", "/healthz/", "/./healthz", "/docs/../healthz", "/HEALTHZ",
    "/models/..%2f..%2fetc%2fpasswd", "/jobs/%00", "/jobs/" + "%2e" * 9000, "/.env", "/static/../x",
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS, ids=range(len(PATHS)))
def test_a_path_that_leads_nowhere_is_not_found(target: Victim, path: str) -> None:
    with Wire(target.url) as wire:
        answer = wire.ask(head("GET", path))
        assert answer is not None
        assert answer.status == 404, answer
        check_problem(answer)
        assert "x-evil" not in answer.headers
        target.serve_good(wire, 1)


@pytest.mark.parametrize("path", ["/persons/%00", "/persons/", "/persons/..%2f", "/gallery/%00"])
def test_nothing_is_erased_by_an_odd_name(target: Victim, path: str) -> None:
    with Wire(target.url) as wire:
        answer = wire.ask(head("DELETE", path))
        assert answer is not None
        assert answer.status == 404, answer
        check_problem(answer)


@pytest.mark.parametrize("host", ["evil.example", "[", "a:b:c/..?#@", "", "\xff", "x" * 5000])
@pytest.mark.parametrize("path", ["/nothing", "/gallery/", "/"])
def test_an_answer_never_leads_to_the_host_that_was_asked_for(
    target: Victim, host: str, path: str
) -> None:
    with Wire(target.url) as wire:
        answer = wire.ask(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode("latin-1"))
    assert answer is not None
    page = {200} if path == "/" else set()  # the same bytes for everybody
    assert answer.status in {400, 403, 404, 421, 431} | page, answer
    assert "location" not in answer.headers


HEADERS = {
    "a request id to inject": {"X-Request-Id": "a b<script>"},
    "a request id of 5,000": {"X-Request-Id": "a" * 5000},
    "a key of bytes": {"Authorization": "Bearer \xff\xfe"},
    "a key of 10,000": {"X-API-Key": "k" * 10_000},
    "a content type of parameters": {"Content-Type": "multipart/form-data" + "; a=b" * 3000},
    "a type that quotes": {"Content-Type": 'multipart/form-data; boundary="wire'},
    "an upgrade": {"Connection": "Upgrade", "Upgrade": "h2c"},
    "a web socket": {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Key": "x"},
    "an expectation": {"Expect": "the-unexpected"},
    "a range": {"Range": "bytes=0-0,1-1,2-2,3-"},
    "another host behind": {"X-Forwarded-Host": "evil.example", "X-Forwarded-For": "127.0.0.1"},
    "another method": {"X-HTTP-Method-Override": "DELETE"},
    "another url": {"X-Original-URL": "/metrics", "X-Rewrite-URL": "/metrics"},
    "a cookie": {"Cookie": "a=b; " * 1000},
    "an encoding": {"Accept-Encoding": "gzip;q=1e999, *;q=-1", "Accept": "*" * 5000},
}


@pytest.mark.parametrize("name", HEADERS)
def test_an_odd_header_changes_nothing(target: Victim, name: str) -> None:
    with Wire(target.url) as wire:
        answer = wire.ask(post("/embed", GOOD, **HEADERS[name]))
        assert answer is not None
        assert answer.status in {200, 413, 415, 417, 422, 431}, answer
        if answer.status != 200:
            check_problem(answer)
        given = HEADERS[name].get("X-Request-Id")
        assert given is None or answer.headers["x-request-id"] != given
    with Wire(target.url) as wire:
        target.serve_good(wire, 1)


QUERIES = {
    "a cursor of garbage": "cursor=%00%ff",
    "a cursor of 60,000": "cursor=" + "A" * 60_000,
    "a cursor of nothing": "cursor=",
    "a limit of nothing": "limit=0",
    "a limit below": "limit=-1",
    "a limit beyond 64 bits": "limit=" + "9" * 40,
    "a limit of another script": "limit=%D9%A1",
    "a limit twice": "limit=1&limit=2",
    "10,000 limits": "&".join(["limit=1"] * 8000),
    "10,000 names": "&".join(["person_id=1"] * 5000),
    "10,000 unknown": "&".join(f"a{n}=1" for n in range(6000)),
    "a filter that is deep": "attributes=" + "%5B" * 5000,
    "a filter that is long": "attributes=%7B%22a%22:%22" + "x" * 17_000 + "%22%7D",
    "a filter of an operator": "attributes=%7B%22a%22:%7B%22$gt%22:1%7D%7D",
    "a filter of a number too large": "attributes=%7B%22a%22:1e400%7D",
    "a name with a null": "person_id=%00",
    "a name of half a surrogate": "person_id=%ED%A0%80%00",
    "a time that overflows": "captured_after=0001-01-01T00:00:00%2B23:59",
    "a time of the year 0": "captured_after=0000-01-01T00:00:00Z",
    "a modality": "modality=thermal",
    "a field of another call": "top_k=5",
}


@pytest.mark.parametrize("name", QUERIES)
def test_a_query_string_that_is_a_trap_is_refused_at_once(target: Victim, name: str) -> None:
    """At once: the event loop must not stand still for it, so another client is served meanwhile.

    Reading 60 KB takes milliseconds; what grows with their square took seconds.
    """
    request = head("GET", f"/gallery?{QUERIES[name]}")
    with Wire(target.url) as wire, Wire(target.url) as other:
        wire.send(request)
        began = time.perf_counter()
        target.serve_good(other, 1)
        waited_s = time.perf_counter() - began
        answer = wire.answer()
    assert answer is not None
    assert answer.status in {400, 422}, answer
    check_problem(answer)
    assert waited_s < 0.5, f"another client waited {waited_s:.2f} s"


@pytest.mark.parametrize("one_line", [True, False])
def test_headers_without_end_are_cut_off_and_take_no_memory(target: Victim, one_line: bool) -> None:
    """What is sent is eight times as much as the process may keep of it."""
    before = figures_of(target.pid).rss_bytes
    piece = b"b" * 65536 if one_line else (b"X-a: " + b"b" * 1000 + b"\r\n") * 64
    with Wire(target.url) as wire:
        wire.send(GET + b"X-a: ")
        sent = 0
        while sent < 128 * MIB and wire.send(piece):
            sent += len(piece)
        grown = figures_of(target.pid).rss_bytes - before
        assert sent < 128 * MIB, "the service took every byte"
        assert grown < 16 * MIB, grown
    with Wire(target.url) as wire:
        target.serve_good(wire, 1)


def test_ten_thousand_small_headers_are_read_or_refused(target: Victim) -> None:
    with Wire(target.url) as wire:
        answer = wire.ask(GET + b"A: b\r\n" * 10_000 + b"\r\n")
        assert answer is None or answer.status in {200, 400, 431}, answer
    with Wire(target.url) as wire:
        target.serve_good(wire, 1)


@pytest.mark.parametrize("method", ["PUT", "TRACE", "PROPFIND", "OPTIONS", "LOCK", "PURGE"])
def test_other_methods_are_refused(target: Victim, method: str) -> None:
    with Wire(target.url) as wire:
        answer = wire.ask(head(method, "/gallery"))
    assert answer is not None
    assert answer.status == 405, answer
    check_problem(answer)
    assert answer.headers["allow"]
    assert "access-control-allow-origin" not in answer.headers


def test_requests_in_one_packet_are_answered_in_their_order(target: Victim) -> None:
    good, bad = upload("/embed", crop(1)), head("GET", "/nothing")
    with Wire(target.url) as wire:
        wire.send(good + bad + good + head("GET", "/healthz") + good)
        statuses = [answer.status for _ in range(5) if (answer := wire.answer()) is not None]
    assert statuses == [200, 404, 200, 200, 200]
