"""Idempotency-Key: whatever was lost on the way, a retry enrols nothing twice."""

import asyncio
import json
from typing import Any

import httpx
import pytest
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

from gallery_index.gallery import Gallery
from service.access.caller import ROLES, Caller
from service.app import create_app
from service.client import ServiceClient
from service.settings import ServiceSettings
from tests.service.asgi import AppTransport, running
from tests.service.claims import fields_of, problem_of
from tests.service.conftest import open_gallery
from tests.service.fakes import TinyEncoder, crop
from tests.service.test_batching import HeldEncoder
from tests.service.test_concurrency import begun, client_of, run

REPLAYED = "Idempotent-Replayed"


def enrol(
    http: httpx.Client, seed: int, key: str, modality: str = "visible", **fields: str
) -> httpx.Response:
    data = {"modality": modality, **fields}
    headers = {"Idempotency-Key": key}
    return http.post("/gallery", files={"file": crop(seed)}, data=data, headers=headers)


def batch(
    http: httpx.Client, crops: list[bytes], key: str, entries: list[dict[str, str]] | None = None
) -> tuple[httpx.Response, list[dict[str, Any]]]:
    items = entries or [{"modality": "visible"}] * len(crops)
    response = http.post(
        "/gallery/batch",
        files=[("files", data) for data in crops],
        data={"entries": json.dumps(items)},
        headers={"Idempotency-Key": key},
    )
    assert response.status_code == 200, response.text
    return response, response.json()["results"]


def ids(results: list[dict[str, Any]]) -> list[str | None]:
    return [result["entry"]["entry_id"] if "entry" in result else None for result in results]


def test_a_crop_sent_again_under_its_key_is_the_same_entry(
    http: httpx.Client, encoder: TinyEncoder, gallery: Gallery
) -> None:
    first, again = enrol(http, 1, "k", person_id="p"), enrol(http, 1, "k", person_id="p")
    assert first.status_code == again.status_code == 201
    assert first.json() == again.json()
    assert (REPLAYED in first.headers, again.headers[REPLAYED]) == (False, "true")
    assert len(gallery) == 1
    assert encoder.batch_sizes == [1]


def test_without_a_key_or_under_another_one_it_is_another_entry(
    http: httpx.Client, gallery: Gallery
) -> None:
    first, other = enrol(http, 1, "k"), enrol(http, 1, "k2")
    keyless = http.post("/gallery", files={"file": crop(1)}, data={"modality": "visible"})
    assert len({answer.json()["entry_id"] for answer in (first, other, keyless)}) == 3
    assert len(gallery) == 3


@pytest.mark.parametrize(("seed", "modality"), [(2, "visible"), (1, "infrared")])
def test_another_crop_or_modality_under_the_key_is_refused(
    http: httpx.Client, gallery: Gallery, seed: int, modality: str
) -> None:
    enrol(http, 1, "night 7")
    problem = problem_of(enrol(http, seed, "night 7", modality), 409, "idempotency_key_reused")
    assert "'night 7', position 0" in problem["detail"]
    assert len(gallery) == 1


def test_an_entry_id_of_the_clients_own_goes_before_the_key(http: httpx.Client) -> None:
    assert enrol(http, 1, "k", entry_id="mine").json()["entry_id"] == "mine"
    problem_of(enrol(http, 2, "k", entry_id="mine"), 409, "entry_conflict")
    assert enrol(http, 2, "k", entry_id="other").status_code == 201


def test_the_id_is_made_of_caller_key_and_position(http: httpx.Client) -> None:
    entry_id = enrol(http, 1, "k").json()["entry_id"]
    # printf '["anonymous", "k", 0]' | sha256sum | cut -c-32
    assert entry_id == "idem-b6c550702fbd462ccbe6ae1009b887e4"


def test_a_batch_that_was_half_enrolled_is_completed(
    http: httpx.Client, encoder: TinyEncoder, gallery: Gallery
) -> None:
    first, results = batch(http, [crop(1), b"text", crop(3)], "k")
    assert [result["status"] for result in results] == [201, 415, 201]
    assert REPLAYED not in first.headers
    second, repaired = batch(http, [crop(1), crop(2), crop(3)], "k")
    assert [result["status"] for result in repaired] == [201, 201, 201]
    assert [result.get("replayed") for result in repaired] == [True, None, True]
    assert REPLAYED not in second.headers
    third, same = batch(http, [crop(1), crop(2), crop(3)], "k")
    assert third.headers[REPLAYED] == "true"
    assert ids(same) == ids(repaired)
    assert ids(same)[::2] == ids(results)[::2]
    assert len(gallery) == 3
    assert sum(encoder.batch_sizes) == 3  # no crop twice, however they met


def test_a_batch_that_comes_in_another_order_is_refused_item_by_item(http: httpx.Client) -> None:
    batch(http, [crop(1), crop(2), crop(3)], "k")
    _, results = batch(http, [crop(2), crop(1), crop(3), crop(4)], "k")
    assert [result["status"] for result in results] == [409, 409, 201, 201]
    problems = [result["problem"] for result in results[:2]]
    assert {problem["code"] for problem in problems} == {"idempotency_key_reused"}
    assert [f"position {index}" in problems[index]["detail"] for index in (0, 1)] == [True, True]


def test_items_with_ids_of_their_own_mix_with_others(http: httpx.Client, gallery: Gallery) -> None:
    entries = [{"modality": "visible", "entry_id": "mine"}, {"modality": "visible"}]
    _, first = batch(http, [crop(1), crop(2)], "k", entries)
    answer, again = batch(http, [crop(1), crop(2)], "k", entries)
    assert ids(first)[0] == "mine"
    assert ids(first) == ids(again)
    assert answer.headers[REPLAYED] == "true"
    _, changed = batch(http, [crop(3), crop(4)], "k", entries)
    codes = [result["problem"]["code"] for result in changed]
    assert codes == ["entry_conflict", "idempotency_key_reused"]
    assert len(gallery) == 2


def test_a_key_holds_after_a_restart(settings: ServiceSettings) -> None:
    answers = []
    for _ in range(2):
        with (
            open_gallery(settings) as gallery,
            running(create_app(settings, TinyEncoder(), gallery)) as transport,
            httpx.Client(transport=transport, base_url="http://localhost") as http,
        ):
            answers.append(batch(http, [crop(1), crop(2)], "k"))
            assert len(gallery) == 2
    assert ids(answers[0][1]) == ids(answers[1][1])
    assert answers[1][0].headers[REPLAYED] == "true"


def test_two_requests_at_once_with_one_key_enrol_one_entry(
    settings: ServiceSettings, gallery: Gallery
) -> None:
    held = HeldEncoder()
    app = create_app(settings, held, gallery)

    async def send(client: httpx.AsyncClient) -> httpx.Response:
        return await client.post(
            "/gallery",
            files={"file": crop(1)},
            data={"modality": "visible"},
            headers={"Idempotency-Key": "k"},
        )

    async def scenario() -> None:
        async with client_of(app) as client:
            requests = [asyncio.create_task(send(client))]
            await begun(held)
            requests.append(asyncio.create_task(send(client)))
            while app.state.context.embedder.state().queued_enrolments < 1:
                await asyncio.sleep(0.01)
            held.let.release()
            held.let.release()
            answers = await asyncio.gather(*requests)
        assert [answer.status_code for answer in answers] == [201, 201]
        assert answers[0].json() == answers[1].json()
        assert sorted(answer.headers.get(REPLAYED, "") for answer in answers) == ["", "true"]

    run(app, scenario())
    assert len(gallery) == 1


class CallerOfHeader:
    """An ASGI layer within the gate: the caller is whom the header `X-Test-Caller` names."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            name = Headers(scope=scope)["X-Test-Caller"]
            scope["state"]["caller"] = Caller(name, "", frozenset(ROLES))
        await self._app(scope, receive, send)


def test_two_callers_may_use_the_same_key(settings: ServiceSettings, gallery: Gallery) -> None:
    app = create_app(settings, TinyEncoder(), gallery)
    app.user_middleware.append(Middleware(CallerOfHeader))
    found = []
    with running(app) as transport:
        for name in ("north", "south", "north"):
            named = {"X-Test-Caller": name}
            with httpx.Client(
                transport=transport, base_url="http://localhost", headers=named
            ) as http:
                answer = enrol(http, 1, "k")
            assert answer.status_code == 201
            found.append(answer.json()["entry_id"])
    assert found[0] == found[2] != found[1]
    assert len(gallery) == 2


@pytest.mark.parametrize("key", ["", "x" * 256, "tab\there", "schlüssel".encode(), b"\x7f"])
@pytest.mark.parametrize("path", ["/gallery", "/gallery/batch"])
def test_a_key_that_cannot_be_used_is_named(
    shared_http: httpx.Client, path: str, key: str | bytes
) -> None:
    headers = [(b"Idempotency-Key", key.encode() if isinstance(key, str) else key)]
    problem = problem_of(shared_http.post(path, headers=headers), 422, "invalid_fields")
    assert fields_of(problem) == {"Idempotency-Key"}
    assert "1 to 255 printable ASCII characters" in problem["detail"]


def test_two_keys_are_one_too_many(shared_http: httpx.Client) -> None:
    headers = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    problem = problem_of(shared_http.post("/gallery", headers=headers), 422, "invalid_fields")
    assert fields_of(problem) == {"Idempotency-Key"}
    assert "came 2 of them" in problem["detail"]


@pytest.mark.parametrize("key", ["x", "x" * 255, "a key: ~!{}"])
def test_any_printable_key_will_do(http: httpx.Client, key: str) -> None:
    assert enrol(http, 1, key).status_code == 201


def test_the_client_enrols_once_what_it_sends_twice(
    transport: AppTransport, gallery: Gallery
) -> None:
    lost: list[httpx.Response] = []

    class Lossy(httpx.BaseTransport):
        """Loses the first answer to every call; the service has done its work by then."""

        def handle_request(self, request: httpx.Request) -> httpx.Response:
            response = transport.handle_request(request)
            if len(lost) % 2 == 0:
                lost.append(response)
                raise httpx.ReadError("connection reset", request=request)
            lost.append(response)
            return response

    client = ServiceClient("http://localhost", transport=Lossy(), sleep=lambda _: None)
    entry = client.enroll(crop(1), "visible")
    results = client.enroll_batch([crop(2), crop(3)], [{"modality": "visible"}] * 2)
    assert [result.get("replayed") for result in results] == [True, True]
    client.delete(entry["entry_id"])
    assert [response.status_code for response in lost] == [201, 201, 200, 200, 204, 404]
    assert len(gallery) == 2
