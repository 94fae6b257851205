"""What a bulk enrolment does when the service is away, full, or finds a request too heavy."""

from collections.abc import Sequence
from typing import Any

import pytest

from mpanet.patient_sender import StoppedError
from service.client import ServiceError
from tests.mpanet.enrolling import ScriptedService, Waits, refusing, sender, source, taken

CROPS = [(source(name), name.encode()) for name in ("a", "b", "c", "d")]
AWAY = refusing(0, "unreachable")


def test_a_service_that_went_away_is_waited_for() -> None:
    service, waits = ScriptedService(taken, AWAY, AWAY, refusing(503)), Waits()
    patient = sender(service, waits)
    patient.send(CROPS)
    assert [result["status"] for result in patient.send(CROPS)] == [201] * 4
    assert len(service.sent) == 5
    assert waits.seconds == [0.5, 1.0, 2.0]


def test_an_outage_ends_in_its_error_after_its_bound() -> None:
    service, waits = ScriptedService(taken, *[AWAY] * 100), Waits()
    patient = sender(service, waits, outage_s=12)
    patient.send(CROPS)
    with pytest.raises(ServiceError) as refusal:
        patient.send(CROPS)
    assert refusal.value.code == "unreachable"
    assert waits.seconds == [0.5, 1, 2, 4, 5]  # 12.5 s: the next try is the last


def test_a_good_answer_begins_a_new_patience() -> None:
    service, waits = ScriptedService(taken, *[AWAY] * 4, taken, *[AWAY] * 4), Waits()
    patient = sender(service, waits, outage_s=8)
    for _ in range(3):
        patient.send(CROPS)
    assert sum(waits.seconds) == 15


def test_a_service_that_never_answered_is_not_waited_for() -> None:
    service, waits = ScriptedService(AWAY), Waits()
    with pytest.raises(ServiceError):
        sender(service, waits).send(CROPS)
    assert waits.seconds == []


@pytest.mark.parametrize("status", [401, 403, 422, 507])
def test_a_refusal_that_will_not_pass_is_handed_on_at_once(status: int) -> None:
    service, waits = ScriptedService(taken, refusing(status)), Waits()
    patient = sender(service, waits)
    patient.send(CROPS)
    with pytest.raises(ServiceError):
        patient.send(CROPS)
    assert waits.seconds == []


def test_a_request_too_heavy_is_sent_in_halves_and_the_heavy_crop_refused() -> None:
    def at_most_two_bytes(crops: Sequence[bytes]) -> list[dict[str, Any]]:
        if b"c" in crops:
            refusing(413, "too_many_bytes")(crops)
        return taken(crops)

    service = ScriptedService(*[at_most_two_bytes] * 5)
    results = sender(service, Waits()).send(CROPS)
    assert service.sent == [[b"a", b"b", b"c", b"d"], [b"a", b"b"], [b"c", b"d"], [b"c"], [b"d"]]
    assert [result["status"] for result in results] == [201, 201, 413, 201]
    assert results[2]["problem"]["code"] == "too_many_bytes"


def failing(*statuses: int) -> Any:
    def answer(crops: Sequence[bytes]) -> list[dict[str, Any]]:
        return [{"status": s, "problem": {"code": "x", "detail": "y"}} for s in statuses]

    return answer


def test_a_crop_that_could_not_be_taken_just_now_is_sent_again_alone() -> None:
    service = ScriptedService(failing(201, 503, 422, 503), failing(503, 201), failing(201))
    results = sender(service, Waits()).send(CROPS)
    assert service.sent[1:] == [[b"b", b"d"], [b"b"]]
    assert [result["status"] for result in results] == [201, 201, 422, 201]


def test_a_crop_that_is_never_taken_keeps_its_reason() -> None:
    service = ScriptedService(*[failing(503)] * 9)
    [result] = sender(service, Waits()).send(CROPS[:1])
    assert result["status"] == 503
    assert len(service.sent) == 3


def test_nothing_is_sent_once_stopped() -> None:
    service, waits = ScriptedService(), Waits()
    waits.set()
    with pytest.raises(StoppedError):
        sender(service, waits).send(CROPS)
    assert service.sent == []
