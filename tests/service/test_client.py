"""The client: its methods against a service, its patience, its errors."""

from collections.abc import Callable, Iterator

import httpx
import pytest

from service.client import ServiceClient, ServiceError
from tests.service.asgi import AppTransport
from tests.service.fakes import MODEL_ID, crop


@pytest.fixture
def client(transport: AppTransport) -> Iterator[ServiceClient]:
    with ServiceClient("http://localhost", transport=transport) as client:
        yield client


def test_every_call_of_the_gallery(client: ServiceClient) -> None:
    entry = client.enroll(crop(1), "visible", entry_id="a", person_id="p/1", attributes={"x": 1})
    assert client.get("a") == entry
    assert client.crop("a") == crop(1)
    assert client.update("a", camera_id="c", person_id="p/1")["camera_id"] == "c"
    results = client.enroll_batch(
        [crop(2), b"text"],
        [{"modality": "visible", "entry_id": "b", "person_id": "p/1"}, {"modality": "visible"}],
    )
    assert [result["status"] for result in results] == [201, 415]
    assert [e["entry_id"] for e in client.list(limit=1, person_id="p/1")] == ["a", "b"]
    assert [e["entry_id"] for e in client.list(camera_id=["c", "d"])] == ["a"]
    assert [e["entry_id"] for e in client.list(attributes={"x": 1})] == ["a"]
    client.delete("a")
    assert client.erase_person("p/1")["entry_ids"] == ["b"]
    assert list(client.list()) == []


def test_every_call_of_the_model(client: ServiceClient) -> None:
    client.enroll(crop(1), "visible", entry_id="a")
    answer = client.query([crop(1)], "infrared", top_k=1, target_modality="visible", rerank=False)
    assert [match["entry_id"] for match in answer["matches"]] == ["a"]
    names = {"exclude_person_id": ["p", "q"], "attributes": {"x": 1}}
    assert client.query([crop(1)], "infrared", rerank=True, **names)["matches"] == []
    assert client.embed(crop(1), "visible")["model_id"] == MODEL_ID
    comparison = client.compare((crop(1), crop(1)), ("visible", "infrared"))
    assert comparison["similarity"] == pytest.approx(1, abs=1e-5)
    assert client.models()["active"] == MODEL_ID
    assert client.ready()["status"] == "ready"


def test_a_refusal_is_an_error_with_its_problem(client: ServiceClient) -> None:
    with pytest.raises(ServiceError, match="404 entry_not_found") as caught:
        client.get("a b?#%")
    assert (caught.value.status, caught.value.code) == (404, "entry_not_found")
    assert "'a b?#%'" in caught.value.detail


def answering(*answers: httpx.Response) -> tuple[ServiceClient, list[float], list[str]]:
    """Return a client of a service that gives these answers, its waits, and what it was sent."""
    waits: list[float] = []
    sent: list[str] = []
    left = iter(answers)

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request.headers.get("Authorization", ""))
        return next(left)

    sleep: Callable[[float], None] = waits.append
    client = ServiceClient(
        "http://localhost", "k", transport=httpx.MockTransport(answer), sleep=sleep
    )
    return client, waits, sent


def busy(wait: str) -> httpx.Response:
    return httpx.Response(503, headers={"Retry-After": wait}, json={})


def test_it_comes_back_when_the_service_says() -> None:
    client, waits, sent = answering(busy("2"), busy("1"), httpx.Response(200, json={"ok": 1}))
    assert client.models() == {"ok": 1}
    assert waits == [2.0, 1.0]
    assert sent == ["Bearer k"] * 3


def test_it_gives_up_in_the_end() -> None:
    client, waits, sent = answering(*[busy("1")] * 9)
    with pytest.raises(ServiceError, match="503"):
        client.models()
    assert (len(sent), len(waits)) == (6, 5)


@pytest.mark.parametrize(
    "answer", [busy("3600"), busy("soon"), httpx.Response(503), httpx.Response(500)]
)
def test_it_does_not_wait_when_it_is_not_asked_to(answer: httpx.Response) -> None:
    client, waits, sent = answering(answer)
    with pytest.raises(ServiceError):
        client.models()
    assert (len(sent), waits) == (1, [])


def test_nobody_there_is_an_error_that_names_the_address() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("connection refused", request=request)

    client = ServiceClient("http://nobody", transport=httpx.MockTransport(refuse))
    with pytest.raises(ServiceError, match="http://nobody") as caught:
        client.models()
    assert caught.value.status == 0
