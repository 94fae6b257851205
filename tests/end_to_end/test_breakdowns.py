"""An encoder that breaks down: once, over certain crops, always. Only its own requests suffer."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.end_to_end.paced_process import Pace, Paced, coloured, paced
from tests.end_to_end.paced_service import BREAKS, BREAKS_ONCE
from tests.end_to_end.wire import Answer, form, head, post, upload
from tests.service.fakes import crop
from tests.service.hostile.victim import check_problem


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Paced]:
    with paced(tmp_path, pace=Pace(batch_ms=50)) as service:
        yield service


def check_broken(answer: Answer) -> None:
    """The encoder's breakdown is not the client's fault: it may come back."""
    assert answer.status == 503, answer
    assert check_problem(answer)["code"] == "encoder_failed"
    assert int(answer.headers["retry-after"]) >= 1


def test_a_crop_that_breaks_the_encoder_spoils_no_request_in_its_batch(service: Paced) -> None:
    bad, good = upload("/embed", coloured(BREAKS)), upload("/embed", crop(1))
    requests = [bad if number % 4 == 0 else good for number in range(24)]
    with ThreadPoolExecutor(24) as threads:
        answers = list(threads.map(service.ask, requests))
    assert max(service.batches()) > 1, "no batch was shared"
    for number, answer in enumerate(answers):
        if number % 4 == 0:
            check_broken(answer)
        else:
            assert answer.status == 200, answer
    service.serve_good()


def test_in_a_batch_of_enrolments_it_spoils_its_item_alone(service: Paced) -> None:
    crops = [crop(1), coloured(BREAKS), crop(2)]
    entries = json.dumps([{"modality": "visible", "entry_id": f"e{n}"} for n in range(3)])
    body = form({"entries": entries}, *[("files", each) for each in crops])
    results = service.ask(post("/gallery/batch", body)).json()["results"]
    assert [item["status"] for item in results] == [201, 503, 201]
    assert results[1]["problem"]["code"] == "encoder_failed"
    assert service.listed() == {"e0", "e2"}


def test_an_encoder_that_broke_once_serves_the_next(service: Paced) -> None:
    once = upload("/embed", coloured(BREAKS_ONCE))
    assert service.ask(once).status in {200, 503}
    assert service.ask(once).status == 200
    assert service.ask(head("GET", "/healthz")).status == 200


def test_while_every_batch_fails_it_says_so_and_afterwards_it_is_well_again(
    service: Paced,
) -> None:
    service.serve_good()
    with service.switched("broken"):
        for _ in range(5):
            check_broken(service.ask(upload("/embed", crop(1))))
            check_broken(service.ask(upload("/gallery", crop(1), entry_id="never")))
        assert service.ask(head("GET", "/healthz")).status == 503
        assert service.listed() == set()
    service.serve_good()
    assert service.ask(head("GET", "/healthz")).status == 200
