"""Whether a model may follow another, by figures that are given."""

from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from gallery_index.refreshable import EmbedCrops
from service.errors import EvaluationFailedError, EvaluationGateError
from service.problems import problem
from service.refresh.gate import Evaluation, EvaluationGate

GOOD = {"mAP": 70.0, "rank1": 80.0, "a-to-b mAP": 75.0, "b-to-a mAP": 65.0}


def embed(crops: Sequence[bytes]) -> Sequence[NDArray[np.float32] | None]:
    raise AssertionError(f"nobody asked for these {len(crops)}")


class Given:
    """Has figures for each model in turn; counts how often it is asked."""

    crops = 7

    def __init__(self, *figures: Mapping[str, float]) -> None:
        self.figures = list(figures)

    def __call__(self, embed: EmbedCrops, /) -> Mapping[str, float]:
        return self.figures.pop(0)


def test_a_model_may_be_worse_by_the_margin_and_no_more() -> None:
    exactly = GOOD | {"mAP": 69.0}
    Evaluation(exactly, GOOD, margin=1.0).refuse_worse()
    with pytest.raises(EvaluationGateError, match=r"mAP 68\.99 % against 70\.00 %"):
        Evaluation(GOOD | {"mAP": 68.99}, GOOD, margin=1.0).refuse_worse()


def test_a_better_mean_does_not_make_up_for_a_direction() -> None:
    lopsided = GOOD | {"mAP": 72.0, "a-to-b mAP": 84.0, "b-to-a mAP": 60.0}
    evaluation = Evaluation(lopsided, GOOD, margin=1.0)
    assert evaluation.shortfalls() == ["b-to-a mAP 60.00 % against 65.00 %"]


def test_rank_1_does_not_decide() -> None:
    Evaluation(GOOD | {"rank1": 1.0}, GOOD, margin=0).refuse_worse()


def test_the_refusal_has_the_figures_of_both() -> None:
    with pytest.raises(EvaluationGateError) as caught:
        Evaluation({"mAP": 1.0}, {"mAP": 5.0}, margin=1.0).refuse_worse()
    body = problem(caught.value, "r1")
    assert (body["status"], body["code"]) == (409, "evaluation_gate")
    assert body["evaluation"] == {"candidate": {"mAP": 1.0}, "active": {"mAP": 5.0}, "margin": 1.0}
    assert "an override of 'evaluation'" in body["detail"]


def test_no_model_is_measured_twice() -> None:
    gate = EvaluationGate(Given({"mAP": 2.0}, {"mAP": 1.0}, {"mAP": 3.0}), margin=0.5)
    first = gate.compare(("b", embed), ("a", embed))
    assert (first.candidate, first.active, first.margin) == ({"mAP": 2.0}, {"mAP": 1.0}, 0.5)
    assert gate.measured("b")
    second = gate.compare(("c", embed), ("b", embed))
    assert (second.candidate, second.active) == ({"mAP": 3.0}, {"mAP": 2.0})
    assert gate.crops == 7


def test_a_measurement_that_failed_is_made_anew() -> None:
    class Failing(Given):
        def __call__(self, embed: EmbedCrops, /) -> Mapping[str, float]:
            if len(self.figures) == 2:
                self.figures.pop()
                raise EvaluationFailedError("unplugged")
            return self.figures[0]

    gate = EvaluationGate(Failing({"mAP": 1.0}, {}), margin=1)
    with pytest.raises(EvaluationFailedError):
        gate.compare(("b", embed), ("a", embed))
    assert gate.compare(("b", embed), ("a", embed)).shortfalls() == []
