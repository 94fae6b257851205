"""An activation followed to its end, against a service that a test scripts."""

import argparse
import io
from typing import Any, cast

import pytest
from tqdm import tqdm

from mpanet.errors import CommandError
from mpanet.refreshing import BAR, activate, add_activation_options, follow, show
from service.client import ServiceClient, ServiceError
from service.client_answers import Job


def job(**said: Any) -> Job:
    """A job as the service tells it, half through unless said otherwise."""
    whole: dict[str, Any] = {
        "job_id": "7",
        "kind": "refresh",
        "status": "running",
        "phase": "embedding",
        "model_id": "b",
        "from_model_id": "a",
        "total": 2000,
        "done": 1000,
        "left_out": 0,
        "erased": 0,
        "crops_per_s": 123.4,
        "seconds_left": 65.2,
        "started_at": "2026-11-25T08:00:00Z",
        "finished_at": None,
        "asked_by": "ann",
        "problem": None,
        "evaluation": None,
    }
    return cast(Job, whole | said)


DONE = job(status="done", phase=None, done=2000, crops_per_s=None, seconds_left=None)


class Scripted:
    """Answers with what it was given, in turn."""

    def __init__(self, *jobs: Job | Exception, activation: Any = None) -> None:
        self.jobs = list(jobs)
        self.activation = activation
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def activate(self, model_id: str, **given: Any) -> Any:
        self.asked.append((model_id, given))
        if isinstance(self.activation, Exception):
            raise self.activation
        return self.activation

    def job(self, job_id: str) -> Job:
        assert job_id == "7"
        answer = self.jobs.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer


def client(*jobs: Job | Exception, activation: Any = None) -> tuple[ServiceClient, Scripted]:
    scripted = Scripted(*jobs, activation=activation)
    return cast(ServiceClient, scripted), scripted


def options(*given: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_activation_options(parser)
    return parser.parse_args(given)


def test_a_job_is_asked_after_until_it_is_done() -> None:
    waits: list[float] = []
    service, scripted = client(job(done=0), job(), DONE)
    assert follow(service, "7", sleep=waits.append) == DONE
    assert scripted.jobs == []
    assert len(waits) == 2


def test_what_is_told_goes_to_the_service() -> None:
    service, scripted = client(DONE, activation=job())
    args = options("--override", "evaluation", "--entries-without-crop", "erase", "--reclaim-kept")
    assert activate(service, "b", args, sleep=lambda _: None) == DONE
    assert scripted.asked == [
        (
            "b",
            {
                "override": ["evaluation"],
                "entries_without_crop": "erase",
                "reclaim_kept": True,
            },
        )
    ]


def test_a_model_that_is_active_needs_no_job() -> None:
    service, scripted = client(activation={"model_id": "b", "active": True})
    assert activate(service, "b", options()) is None
    assert scripted.asked[0][1]["override"] == []


def test_a_refusal_is_one_line_and_exit_code_2() -> None:
    gate = ServiceError({"status": 409, "code": "evaluation_gate", "detail": "worse"})
    service, _ = client(activation=gate)
    with pytest.raises(CommandError, match=r"409 \(evaluation_gate\): worse") as caught:
        activate(service, "b", options())
    assert caught.value.exit_code == 2


def test_a_job_that_failed_says_why() -> None:
    problem = {"code": "storage_full", "detail": "no room"}
    service, _ = client(job(), job(status="failed", problem=problem))
    with pytest.raises(CommandError, match=r"job 7 failed \(storage_full\): no room") as caught:
        follow(service, "7", sleep=lambda _: None)
    assert caught.value.exit_code == 1


def test_a_job_that_was_cancelled_is_no_success() -> None:
    service, _ = client(job(status="cancelled"))
    with pytest.raises(CommandError, match="job 7 was cancelled; the model before goes on"):
        follow(service, "7")


def test_a_service_that_is_gone_is_said() -> None:
    service, _ = client(job(), ServiceError({"status": 0, "detail": "refused"}))
    with pytest.raises(CommandError, match="no service answers: refused"):
        follow(service, "7", sleep=lambda _: None)


def test_an_interruption_leaves_the_job_alone() -> None:
    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    service, _ = client(job())
    with pytest.raises(CommandError, match="job 7 goes on in the service") as caught:
        follow(service, "7", sleep=interrupted)
    assert caught.value.exit_code == 130


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        (job(), "embedding:  50%|#####     | 1000/2000, 123 crops/s, 1:05 left"),
        (job(seconds_left=3725), "123 crops/s, 1:02:05 left"),
        (job(phase="evaluating", crops_per_s=None, seconds_left=None), "evaluating:  50%"),
        (DONE, "done: 100%|##########| 2000/2000"),
        (job(total=0, done=0), "0/0"),
    ],
)
def test_the_bar_says_how_far_it_is_and_how_long_to_go(told: Job, shown: str) -> None:
    screen = io.StringIO()
    with tqdm(file=screen, bar_format=BAR.replace("{bar}", "{bar:10}"), ascii=True) as bar:
        show(bar, told)
        assert shown in screen.getvalue().replace("\r", "\n")
