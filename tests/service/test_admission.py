"""Who is let in, and who is refused before anything is spent."""

import pytest

from service.engine.admission import Admission
from service.errors import QueueFullError, ShuttingDownError


def admission(crop_s: float = 0.0, *, max_crops: int = 10, max_bytes: int = 1000) -> Admission:
    return Admission(
        max_crops=max_crops,
        max_bytes=max_bytes,
        deadline_s={"query": 10, "enroll": 60},
        seconds_per_crop=lambda: crop_s,
    )


def test_a_full_queue_of_enrolments_keeps_no_query_out() -> None:
    gate = admission()
    gate.enter("enroll", 10)
    with pytest.raises(QueueFullError, match="at most 10"):
        gate.check("enroll")
    gate.check("query", 10)
    gate.leave("enroll", 1)
    gate.check("enroll")


def test_whoever_would_wait_most_of_the_deadline_is_told_when_to_come_back() -> None:
    gate = admission(crop_s=1.0)
    gate.enter("query", 4)
    gate.check("query")  # 5 s of 10
    gate.enter("query", 1)
    with pytest.raises(QueueFullError, match=r"6\.0 s; expected at most 50%") as refusal:
        gate.check("query")
    assert refusal.value.retry_after_s == 6


def test_enrolments_wait_for_queries_too() -> None:
    gate = admission(crop_s=6.0)
    gate.enter("query", 8)
    with pytest.raises(QueueFullError):
        gate.check("enroll")  # 54 s, of 60
    gate.leave("query", 8)
    gate.enter("enroll", 6)
    gate.check("query")  # goes before them


def test_an_idle_service_takes_even_what_it_cannot_do_in_time() -> None:
    admission(crop_s=100.0).check("query", 3)


def test_bytes_under_way_are_bounded() -> None:
    gate = admission()
    gate.reserve(600)
    with pytest.raises(QueueFullError, match="bodies of 600 bytes"):
        gate.reserve(401)
    gate.reserve(400)
    gate.release(1000)
    assert gate.bytes == 0


def test_a_stop_ends_what_arrives_and_lets_nothing_in() -> None:
    gate = admission()
    given_up = []
    with gate.arriving(lambda: given_up.append("body")):
        gate.stop()
    assert given_up == ["body"]
    with pytest.raises(ShuttingDownError):
        gate.check("query")
    with pytest.raises(ShuttingDownError):
        gate.check_open()


def test_queries_are_refused_for_searches_that_wait_though_the_encoder_is_free() -> None:
    searching_s = 0.0
    gate = Admission(
        max_crops=10,
        max_bytes=1000,
        deadline_s={"query": 10, "enroll": 60},
        seconds_per_crop=lambda: 0.1,
        search_wait_s=lambda: searching_s,
    )
    searching_s = 4.8
    gate.check("query")
    searching_s = 5.0
    with pytest.raises(QueueFullError, match=r"5\.1 s"):
        gate.check("query")
    gate.check("enroll")
