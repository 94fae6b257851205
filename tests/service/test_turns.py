"""Whose batch runs next, by what is ready."""

from service.engine.crop_jobs import Kind
from service.engine.turns import Turns


def ready(query: int = 0, enroll: int = 0, refresh: int = 0) -> dict[Kind, int]:
    return {"query": query, "enroll": enroll, "refresh": refresh}


def test_nothing_ready_is_nobodys_turn() -> None:
    assert Turns().next(ready(), query_coming=True) is None
    assert Turns().next(ready(), query_coming=False) is None


def test_an_enrolment_has_its_turn_after_seven_batches_of_queries() -> None:
    turns = Turns()
    order = [turns.next(ready(query=9, enroll=1), query_coming=False) for _ in range(16)]
    assert order == [*["query"] * 7, "enroll", *["query"] * 7, "enroll"]


def test_a_refresh_has_its_turn_after_thirty_one_batches_of_requests() -> None:
    turns = Turns()
    order = [turns.next(ready(query=9, refresh=1), query_coming=True) for _ in range(33)]
    assert order == [*["query"] * 31, "refresh", "query"]


def test_a_refresh_runs_where_nobody_else_does() -> None:
    turns = Turns()
    order = [turns.next(ready(refresh=2), query_coming=False) for _ in range(3)]
    assert order == ["refresh", "refresh", "refresh"]


def test_a_refresh_lets_a_query_pass_that_is_being_decoded() -> None:
    turns = Turns()
    assert turns.next(ready(refresh=2), query_coming=True) is None
    assert turns.next(ready(query=1, refresh=2), query_coming=False) == "query"
    assert turns.next(ready(refresh=2), query_coming=False) == "refresh"


def test_an_enrolment_waits_for_no_query_that_is_being_decoded() -> None:
    assert Turns().next(ready(enroll=1, refresh=1), query_coming=True) == "enroll"


def test_queries_that_never_come_keep_no_refresh_waiting_for_ever() -> None:
    turns = Turns()
    order = [turns.next(ready(refresh=1), query_coming=True) for _ in range(32)]
    assert order == [*[None] * 31, "refresh"]
