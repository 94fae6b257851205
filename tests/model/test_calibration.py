"""What a calibration answers, and what a manifest may say."""

import json
import math
from typing import Any

import pytest

from model.calibration import (
    Calibration,
    Histogram,
    PairCalibration,
    Threshold,
    Unsupported,
    pair_kind,
)
from model.errors import CalibrationError, RateNotSupportedError

PAIR = PairCalibration(
    persons=40,
    genuine=Histogram(start=0.5, width=0.25, counts=(10, 30)),
    impostor=Histogram(start=0.0, width=0.25, counts=(500, 300, 150, 50)),
    evidence=((0.2, -2.0), (0.4, 0.0), (0.8, 3.0)),
    thresholds=(
        Threshold(rate=0.1, similarity=0.6, interval=(0.08, 0.12), true_accept_rate=0.9),
        Threshold(rate=0.01, similarity=0.9, interval=(0.005, 0.02), true_accept_rate=0.2),
    ),
    unsupported=(
        Unsupported(rate=0.001, pairs_needed=30_000),
        Unsupported(rate=0.0001, pairs_needed=300_000),
    ),
)
CALIBRATION = Calibration(
    kinds={"infrared-visible": PAIR}, absent={"visible-visible": "too few persons"}
)


@pytest.mark.parametrize(
    ("one", "other", "kind"),
    [
        ("visible", "visible", "visible-visible"),
        ("visible", "infrared", "infrared-visible"),
        ("infrared", "visible", "infrared-visible"),
        ("infrared", "infrared", "infrared-infrared"),
    ],
)
def test_a_kind_of_pair_has_no_order(one: str, other: str, kind: str) -> None:
    assert pair_kind(one, other) == kind


def test_crops_of_no_modality_are_no_pair() -> None:
    with pytest.raises(ValueError, match="thermal"):
        pair_kind("visible", "thermal")


@pytest.mark.parametrize(
    ("similarity", "prior", "odds"),
    [
        (0.4, 0.5, 1.0),
        (0.4, 0.2, 0.25),
        (0.6, 0.5, math.exp(1.5)),  # halfway between two points
        (0.2, 0.5, math.exp(-2)),
        (-1.0, 0.5, math.exp(-2)),
        (1.0, 0.5, math.exp(3)),
        (1.0, 0.01, math.exp(3) / 99),
    ],
)
def test_a_probability_is_the_evidence_times_the_odds_before(
    similarity: float, prior: float, odds: float
) -> None:
    probability = CALIBRATION.probability("infrared-visible", similarity, prior=prior)
    assert probability == pytest.approx(odds / (1 + odds))


def test_a_kind_without_data_has_no_probability() -> None:
    assert CALIBRATION.probability("visible-visible", 0.9, prior=0.5) is None


@pytest.mark.parametrize(
    ("rate", "similarity"),
    [
        (0.1, 0.6),
        (0.01, 0.9),
        (0.02, 0.9),  # the edge with no more above it is 1.0, and 0.9 holds the rate too
        (0.05, 0.75),  # 50 of 1,000 lie above this edge
        (0.2, 0.5),
        (0.5, 0.25),
        (0.9, 0.25),
        (1.0, 0.0),
    ],
)
def test_a_threshold_is_the_stored_one_or_the_next_edge_on_the_safe_side(
    rate: float, similarity: float
) -> None:
    assert CALIBRATION.threshold("infrared-visible", rate) == similarity


@pytest.mark.parametrize(
    ("rate", "needed"), [(0.005, 30_000), (0.001, 30_000), (0.0005, 300_000), (1e-5, 3_000_000)]
)
def test_a_rate_that_the_data_cannot_support_is_refused_with_what_it_takes(
    rate: float, needed: int
) -> None:
    with pytest.raises(RateNotSupportedError) as refused:
        CALIBRATION.threshold("infrared-visible", rate)
    assert (refused.value.lowest_rate, refused.value.pairs_needed) == (0.01, needed)
    for said in ("infrared-visible", "0.01", f"{rate:g}", f"{needed:,}"):
        assert said in str(refused.value)


@pytest.mark.parametrize("rate", [0.0, 5e-324, 1e-300])
def test_a_rate_of_nothing_is_refused_whatever_the_data(rate: float) -> None:
    with pytest.raises(RateNotSupportedError) as refused:
        CALIBRATION.threshold("infrared-visible", rate)
    assert refused.value.pairs_needed is None
    assert "takes" not in str(refused.value)


def test_a_calibration_comes_back_from_json_as_it_was() -> None:
    text = json.dumps(CALIBRATION.to_manifest(), allow_nan=False)
    again = Calibration.from_manifest(json.loads(text))
    assert again == CALIBRATION
    assert again.threshold("infrared-visible", 0.1) == 0.6


def damaged(*path: str | int, value: Any) -> dict[str, Any]:
    """Return the calibration as JSON with one value in it replaced."""
    whole: dict[str, Any] = json.loads(json.dumps(CALIBRATION.to_manifest()))
    place: Any = whole["kinds"]["infrared-visible"]
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return whole


@pytest.mark.parametrize(
    "mapping",
    [
        {},
        {"format": 2, "kinds": {}},
        {"kinds": {"thermal-visible": {}}},
        {"kinds": {}, "made_by": "hand"},
        damaged("evidence", value=[]),
        damaged("evidence", 1, value=[0.1, 0.0]),
        damaged("evidence", 1, value=[0.4, -3.0]),
        damaged("evidence", 1, value=[0.4, math.nan]),
        damaged("evidence", 1, value=[0.4]),
        damaged("evidence", 0, value=[0.2, -1e308]),
        damaged("impostor", "counts", value=[10**30, 1]),
        damaged("thresholds", value=[]),
        damaged("thresholds", 1, "similarity", value=0.5),
        damaged("thresholds", 1, "rate", value=0.1),
        damaged("thresholds", 1, "similarity", value=3.0),
        damaged("impostor", "counts", value=[0, 0]),
        damaged("impostor", "counts", value=[-1, 2]),
        damaged("impostor", "width", value=0),
        damaged("persons", value=1),
        damaged("surprise", value=1),
    ],
)
def test_what_is_no_calibration_is_refused_and_the_place_named(mapping: dict[str, Any]) -> None:
    with pytest.raises(CalibrationError, match=r"^calibration\.") as refused:
        Calibration.from_manifest(mapping)
    assert "\n" not in str(refused.value)
