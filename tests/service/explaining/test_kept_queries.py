"""Queries that may be looked into: how long, how many, by whom."""

import numpy as np
import pytest

from service.errors import QueryNotFoundError
from service.explaining import kept_queries
from service.explaining.kept_queries import KeptQueries, KeptQuery
from service.refresh.served import ServedModel
from tests.service.fakes import TinyEncoder


def query(query_id: str, key_id: str | None = "k", size: int = 10) -> KeptQuery:
    served = ServedModel(TinyEncoder())
    return KeptQuery(query_id, key_id, served, [bytes(size)], np.zeros(1, np.float32), {"e": 0})


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_query_is_forgotten_when_its_time_is_over() -> None:
    clock = Clock()
    kept = KeptQueries(600, clock)
    kept.keep(query("a"))
    clock.now += 599
    kept.keep(query("b"))
    assert kept.get("a", "k").query_id == "a"
    clock.now += 1
    with pytest.raises(QueryNotFoundError, match="600 s"):
        kept.get("a", "k")
    assert len(kept) == 1
    assert kept.get("b", "k").query_id == "b"


@pytest.mark.parametrize("other", ["another", None])
def test_another_key_does_not_get_at_it(other: str | None) -> None:
    kept = KeptQueries(600)
    kept.keep(query("a"))
    with pytest.raises(QueryNotFoundError):
        kept.get("a", other)


def test_the_oldest_go_when_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_queries, "MAX_QUERIES", 2)
    kept = KeptQueries(600)
    for name in "abc":
        kept.keep(query(name))
    assert len(kept) == 2
    with pytest.raises(QueryNotFoundError):
        kept.get("a", "k")


def test_the_oldest_go_when_they_take_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_queries, "MAX_BYTES", 100)
    kept = KeptQueries(600)
    kept.keep(query("a", size=60))
    kept.keep(query("b", size=60))
    assert len(kept) == 1
    kept.keep(query("c", size=200))
    assert len(kept) == 0, "one that is too large alone is not kept"
    kept.keep(query("d", size=60))
    assert kept.get("d", "k").query_id == "d"
