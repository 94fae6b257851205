"""Odd multipart bodies over real sockets: each gets its code, or is read where it can be."""

import gzip
import random
import struct

import pytest

from tests.end_to_end.wire import Answer, Wire, form, head, post, upload
from tests.service.fakes import crop
from tests.service.hostile.bodies import BODIES, CROP, GOOD, MULTIPART
from tests.service.hostile.victim import Victim, check_problem

RANDOM_BODIES = 300


@pytest.mark.parametrize("name", BODIES)
def test_an_odd_body_gets_its_code(target: Victim, name: str) -> None:
    request, (status, code) = BODIES[name]
    with Wire(target.url) as wire:
        answer = target.check("/embed", wire.ask(request))
        target.serve_good(wire, len(name))
    assert answer.status == status, answer
    assert status == 200 or check_problem(answer)["code"] == code


def test_a_form_is_the_same_however_it_is_cut_into_packets(target: Victim) -> None:
    request = upload("/embed", CROP)
    answers = set()
    for size in (1, 2, 3, 17, 1000):
        with Wire(target.url) as wire:
            for at in range(0, len(request), size):
                wire.send(request[at : at + size])
            answer = target.check("/embed", wire.answer())
            answers.add((answer.status, answer.body))
    [(status, _)] = answers
    assert status == 200


def test_bodies_of_random_pieces_are_refused_in_their_form(target: Victim) -> None:
    pieces = [b"--wire", b"--wire--", b"\r\n", b"\n", b":", b"; name=", b'"', b"\0", b"\xff", CROP]
    pieces += [b"Content-Disposition: form-data", b'; name="file"', b"modality", b"visible", b"--"]
    chance = random.Random(3)
    with Wire(target.url) as wire:
        for _ in range(RANDOM_BODIES):
            body = b"".join(chance.choice(pieces) for _ in range(chance.randint(1, 40)))
            assert target.check("/embed", wire.ask(post("/embed", body))).status in {422, 415}
        target.serve_good(wire, 1)


def test_a_length_that_is_too_long_ends_with_the_client(target: Victim) -> None:
    with Wire(target.url) as wire:
        wire.send(post("/embed", GOOD, Content_Length=len(GOOD) + 100))
        wire.end_sending()
        wire.answer()
    with Wire(target.url) as wire:
        target.serve_good(wire, 1)


def test_a_length_that_is_too_short_leaves_a_rest_that_is_no_request(target: Victim) -> None:
    with Wire(target.url) as wire:
        wire.send(post("/embed", GOOD, Content_Length=len(GOOD) - 40))
        first, rest = wire.answer(), wire.answer()
        assert first is not None
        assert first.status in {400, 422}, first
        check_problem(first)
        assert rest is None or rest.status == 400, rest
    with Wire(target.url) as wire:
        target.serve_good(wire, 1)


@pytest.mark.parametrize("length", ["999999999999", str(2**63 - 1), "70000000"])
def test_a_length_beyond_the_limit_is_refused_before_the_body_comes(
    target: Victim, length: str
) -> None:
    with Wire(target.url) as wire:
        wire.send(head("POST", "/embed", Content_Type=MULTIPART + "wire", Content_Length=length))
        answer = target.check("/embed", wire.answer())
    assert check_problem(answer)["code"] == "too_many_bytes"


def test_a_body_of_no_length_is_cut_off_where_it_grows_too_long(target: Victim) -> None:
    start = head("POST", "/embed", Content_Type=MULTIPART + "wire", Transfer_Encoding="chunked")
    opening = form({"modality": "visible"}, ("file", b""))[:-12]
    with Wire(target.url) as wire:
        wire.send(start + b"%x\r\n%s\r\n" % (len(opening), opening))
        for _ in range(1000):
            if not wire.send(b"10000\r\n" + bytes(65536) + b"\r\n"):
                break
        answer = wire.answer()
    assert answer is None or check_problem(target.check("/embed", answer))["code"] == (
        "too_many_bytes"
    )


def test_a_compressed_body_is_not_taken_for_a_plain_one(target: Victim) -> None:
    packed = gzip.compress(GOOD)
    with Wire(target.url) as wire:
        answer = wire.ask(post("/embed", packed, Content_Encoding="gzip"))
    assert check_problem(target.check("/embed", answer))["code"] == "unsupported_content"


JSON_BODIES = {
    "nothing": b"",
    "half": b'{"person_id": "a"',
    "not a number": b'{"attributes": {"a": NaN}}',
    "deep lists": b"[" * 500_000,
    "deep objects": b'{"a":' * 100_000,
    "deep and closed": b'{"attributes": {"a": ' + b"[" * 150 + b"]" * 150 + b"}}",
    "a number of 4,299 digits": b'{"person_id": ' + b"9" * 4299 + b"}",
    "a number of 100,000 digits": b'{"person_id": ' + b"9" * 100_000 + b"}",
    "a number beyond 64 bits": b'{"attributes": {"a": 9223372036854775808}}',
    "an exponent": b'{"attributes": {"a": 1e999999999}}',
    "half a surrogate": b'{"person_id": "\\ud800"}',
    "a null in a name": b'{"person_id": "a\\u0000b"}',
    "text turned round": '{"person_id": "a\u202eb"}'.encode(),
    "100,000 keys": b"{" + b",".join(b'"k%d": 1' % n for n in range(60_000)) + b"}",
    "a list": b"[]",
    "not utf-8": b'{"person_id": "\xff"}',
    "utf-16": '{"person_id": "a"}'.encode("utf-16"),
    "a byte order mark": b'\xef\xbb\xbf{"person_id": "a"}',
    "a number": struct.pack("<d", 1.0),
}


@pytest.mark.parametrize("name", JSON_BODIES)
def test_a_json_body_that_is_a_trap_is_refused(target: Victim, name: str) -> None:
    body = JSON_BODIES[name]
    request = head("PATCH", "/gallery/known-1", Content_Length=len(body)) + body
    with Wire(target.url) as wire:
        answer = wire.ask(request)
        assert answer is not None
        assert answer.status == 422, answer
        assert check_problem(answer)["code"] in {"malformed_body", "invalid_fields"}
        target.serve_good(wire, 1)


def test_the_later_of_two_keys_counts(target: Victim) -> None:
    before, after = _patched(target, b'{"camera_id": "1", "camera_id": "2"}'), b'"camera_id":"2"'
    assert after in before.body
    assert b'"camera_id":null' in _patched(target, b'{"camera_id": null}').body


def test_a_refusal_is_not_much_longer_than_the_request(target: Victim) -> None:
    many = {f"field-{number}": "x" for number in range(900)}
    body = form(many, ("file", crop(1)))
    with Wire(target.url) as wire:
        answer = target.check("/query", wire.ask(post("/query", body)))
    assert check_problem(answer)["code"] == "invalid_fields"
    assert len(answer.body) < 2 * len(body)


def _patched(target: Victim, body: bytes) -> Answer:
    with Wire(target.url) as wire:
        answer = wire.ask(head("PATCH", "/gallery/known-1", Content_Length=len(body)) + body)
    assert answer is not None
    assert answer.status == 200, answer
    return answer
