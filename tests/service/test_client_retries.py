"""The client's patience: what it sends again, when, and when it gives up; the same for both."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
import pytest

from service.client import AsyncServiceClient, Patience, ServiceClient, ServiceError

Outcome = httpx.Response | Exception
Ask = Callable[[Any], Any]


@dataclass
class Service:
    """Gives one outcome after another, each after `takes_s` on a clock that only it moves."""

    outcomes: list[Outcome]
    takes_s: float = 0.0
    now_s: float = 1000.0
    waits: list[float] = field(default_factory=list)
    sent: list[httpx.Request] = field(default_factory=list)
    jitter: float = 0.0
    patience: Patience = field(default_factory=Patience)

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.sent.append(request)
        self.now_s += self.takes_s
        outcome = self.outcomes[len(self.sent) - 1]
        if isinstance(outcome, Exception):
            raise outcome
        content = outcome.content  # a new answer each time: httpx consumes it
        return httpx.Response(outcome.status_code, headers=outcome.headers, content=content)

    def sleep(self, wait_s: float) -> None:
        self.waits.append(wait_s)
        self.now_s += wait_s

    async def sleep_async(self, wait_s: float) -> None:
        self.sleep(wait_s)

    def ask(self, kind: type, ask: Ask) -> Any:
        """Let a client of this kind make a call."""
        patience = replace(self.patience, clock=lambda: self.now_s, jitter=lambda: self.jitter)
        transport = httpx.MockTransport(self.answer)
        if kind is ServiceClient:
            with ServiceClient(
                "http://localhost", patience=patience, transport=transport, sleep=self.sleep
            ) as client:
                return ask(client)

        async def awaited() -> Any:
            async with AsyncServiceClient(
                "http://localhost", patience=patience, transport=transport, sleep=self.sleep_async
            ) as client:
                return await ask(client)

        return asyncio.run(awaited())


@pytest.fixture(params=[ServiceClient, AsyncServiceClient])
def kind(request: pytest.FixtureRequest) -> type:
    assert isinstance(request.param, type)
    return request.param


def models(client: Any) -> Any:
    return client.models()


def busy(wait: str | None, status: int = 503, **headers: str) -> httpx.Response:
    asked = {} if wait is None else {"Retry-After": wait}
    return httpx.Response(status, headers={**asked, **headers}, json={})


def done(status: int = 200) -> httpx.Response:
    return httpx.Response(status, json={"results": []})


def lost() -> httpx.ReadError:
    return httpx.ReadError("connection reset")


@pytest.mark.parametrize("status", [429, 503])
def test_it_comes_back_when_the_service_says(kind: type, status: int) -> None:
    service = Service([busy("2", status), busy("1", status), done()])
    assert service.ask(kind, models) == {"results": []}
    assert service.waits == [2.0, 1.0]


def test_it_comes_back_at_the_date_that_the_service_says(kind: type) -> None:
    wait = busy("Wed, 25 Nov 2026 10:00:07 GMT", Date="Wed, 25 Nov 2026 10:00:00 GMT")
    past = busy("Wed, 25 Nov 2026 09:00:00 GMT", Date="Wed, 25 Nov 2026 10:00:00 GMT")
    service = Service([wait, past, done()])
    service.ask(kind, models)
    assert service.waits == [7.0, 0.0]


def test_jitter_adds_up_to_a_quarter_and_takes_nothing_away(kind: type) -> None:
    service = Service([busy("4"), done()], jitter=1.0)
    service.ask(kind, models)
    assert service.waits == [5.0]


def test_the_default_jitter_is_random() -> None:
    assert Patience().jitter is random.random


def test_it_gives_up_after_so_many_tries(kind: type) -> None:
    service = Service([busy("1")] * 9)
    with pytest.raises(ServiceError, match="503"):
        service.ask(kind, models)
    assert (len(service.sent), len(service.waits)) == (6, 5)


@pytest.mark.parametrize(
    "answer",
    [
        busy("31"),
        busy("soon"),
        busy("-1"),
        busy("1 s"),
        busy(None),
        httpx.Response(500),
        busy("1", 502),
    ],
)
def test_it_does_not_wait_when_it_is_not_asked_to(kind: type, answer: httpx.Response) -> None:
    service = Service([answer, done()])
    with pytest.raises(ServiceError) as caught:
        service.ask(kind, models)
    assert (len(service.sent), service.waits) == (1, [])
    assert caught.value.status == answer.status_code


def test_no_wait_leads_beyond_the_total_time(kind: type) -> None:
    patience = Patience(total_timeout_s=10)
    service = Service([busy("4"), busy("4"), done()], takes_s=1.5, patience=patience)
    with pytest.raises(ServiceError, match="503"):
        service.ask(kind, models)
    assert service.waits == [4.0]  # at 1.5 s; at 7 s the next would end at 11 s


def test_a_sending_waits_for_the_network_no_longer_than_there_is_time(kind: type) -> None:
    service = Service(
        [busy("5"), done()], takes_s=3, patience=Patience(total_timeout_s=10, connect_timeout_s=4)
    )
    service.ask(kind, models)
    given = [request.extensions["timeout"] for request in service.sent]
    assert [(timeout["read"], timeout["connect"]) for timeout in given] == [(10, 4), (2, 2)]


REPEATED: dict[str, Ask] = {
    "enroll": lambda client: client.enroll(b"x", "visible"),
    "enroll_batch": lambda client: client.enroll_batch([b"x"], [{"modality": "visible"}]),
    "query": lambda client: client.query([b"x"], "visible"),
    "embed": lambda client: client.embed(b"x", "visible"),
    "compare": lambda client: client.compare((b"x", b"y"), ("visible", "visible")),
    "get": lambda client: client.get("a"),
    "page": lambda client: client.page(),
    "update": lambda client: client.update("a", person_id="p"),
    "delete": lambda client: client.delete("a"),
    "erase_person": lambda client: client.erase_person("p"),
    "activate": lambda client: client.activate("m"),
    "metrics": lambda client: client.metrics(),
}


@pytest.mark.parametrize("call", REPEATED)
@pytest.mark.parametrize("loss", [lost(), httpx.ReadTimeout("slow"), httpx.RemoteProtocolError("")])
def test_what_is_safe_is_sent_again_when_the_answer_is_lost(
    kind: type, call: str, loss: Exception
) -> None:
    service = Service([loss, loss, done()], jitter=1.0)
    service.ask(kind, REPEATED[call])
    first, *others = service.sent
    assert len(others) == 2
    assert {request.headers.get("Idempotency-Key") for request in others} == {
        first.headers.get("Idempotency-Key")
    }
    assert service.waits == [0.1, 0.2]


def test_a_rollback_is_not_repeated_once_it_may_have_happened(kind: type) -> None:
    service = Service([lost(), done()])
    with pytest.raises(ServiceError, match="unreachable"):
        service.ask(kind, lambda client: client.rollback())
    assert len(service.sent) == 1


def test_but_it_is_where_it_was_never_sent_or_was_refused(kind: type) -> None:
    service = Service([httpx.ConnectError("refused"), busy("1"), done()])
    service.ask(kind, lambda client: client.rollback())
    assert len(service.sent) == 3


@pytest.mark.parametrize("call", ["enroll", "enroll_batch"])
def test_every_enrolment_has_a_key_of_its_own_unless_one_is_given(kind: type, call: str) -> None:
    service = Service([done(), done()])
    service.ask(kind, REPEATED[call])
    service.ask(kind, REPEATED[call])
    keys = [request.headers["Idempotency-Key"] for request in service.sent]
    assert len(set(keys)) == 2
    assert all(len(key) == 32 for key in keys)
    named = Service([done()])
    named.ask(kind, lambda client: client.enroll(b"x", "visible", idempotency_key="night 7"))
    assert named.sent[0].headers["Idempotency-Key"] == "night 7"


def test_a_deletion_whose_answer_was_lost_is_done_when_nothing_is_there(kind: type) -> None:
    service = Service([lost(), busy("1"), done(404)])
    assert service.ask(kind, lambda client: client.delete("a")) is None


def test_an_erasure_whose_answer_was_lost_has_an_empty_receipt(kind: type) -> None:
    service = Service([lost(), done(404)])
    receipt = service.ask(kind, lambda client: client.erase_person("p"))
    assert receipt == {
        "person_id": "p",
        "entry_ids": [],
        "entries": 0,
        "vectors": 0,
        "crops": 0,
        "erased_at": None,
    }


@pytest.mark.parametrize("before", [[], [busy("1")], [httpx.ConnectError("refused")]])
def test_what_was_never_there_is_not_found(kind: type, before: list[Outcome]) -> None:
    service = Service([*before, done(404)])
    with pytest.raises(ServiceError, match="404"):
        service.ask(kind, lambda client: client.delete("a"))


def test_nobody_there_is_an_error_that_names_the_address(kind: type) -> None:
    service = Service([httpx.ConnectError("connection refused")] * 9)
    with pytest.raises(ServiceError, match="http://localhost: connection refused") as caught:
        service.ask(kind, models)
    assert caught.value.status == 0
    assert len(service.sent) == 6
    assert sum(service.waits) < 3.2


def test_an_address_that_cannot_be_used_is_not_tried_again() -> None:
    waits: list[float] = []
    with pytest.raises(ServiceError, match="unreachable"):
        ServiceClient("ftp://nobody", sleep=waits.append).models()
    assert waits == []
