"""Making a calibration: counted by hand, held against people drawn anew, refused without data."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from model import labelled_pairs
from model.calibrating import calibrate, calibrate_pairs
from model.calibration import Calibration, PairCalibration
from model.errors import CalibrationError


def of_pairs(
    impostors: NDArray[np.float64],
    genuine: NDArray[np.float64],
    persons: list[tuple[str, str]] | None = None,
) -> PairCalibration:
    calibration = calibrate_pairs(
        np.concatenate([impostors, genuine]),
        np.arange(len(impostors) + len(genuine)) >= len(impostors),
        ["visible-visible"] * (len(impostors) + len(genuine)),
        persons,
    )
    return calibration.kinds["visible-visible"]


def test_a_threshold_lets_as_many_impostors_pass_as_its_rate_says() -> None:
    """Of impostors at 0.000, 0.001 ... 0.999 the 100 from 0.9 on are a tenth."""
    made = of_pairs(np.arange(1000) / 1000, np.linspace(0.8025, 0.9975, 40))
    [threshold] = made.thresholds
    assert (threshold.rate, threshold.similarity) == (0.1, 0.9)
    assert threshold.true_accept_rate == 20 / 40
    low, high = threshold.interval
    assert 0.05 < low < 0.1 < high < 0.15
    assert (made.impostor.total, made.genuine.total, made.persons) == (1000, 40, None)


def test_of_equals_none_pass_where_all_would_be_too_many() -> None:
    impostors = np.concatenate([np.linspace(0, 0.4, 850), np.full(100, 0.5), np.full(50, 0.6)])
    [threshold] = of_pairs(impostors, np.full(30, 0.8)).thresholds
    assert threshold.similarity == 0.6


def test_where_more_than_the_rate_are_alike_the_threshold_lies_just_above_them() -> None:
    impostors = np.concatenate([np.linspace(0, 0.4, 800), np.full(200, 0.5)])
    [threshold] = of_pairs(impostors, np.full(30, 0.8)).thresholds
    assert threshold.similarity == np.nextafter(0.5, 1)


def test_a_rate_needs_thirty_impostors_that_pass() -> None:
    made = of_pairs(np.linspace(0, 1, 2999), np.full(30, 0.8))
    assert [each.rate for each in made.thresholds] == [0.1]
    assert [(each.rate, each.pairs_needed) for each in made.unsupported] == [
        (0.01, 3_000),
        (0.001, 30_000),
        (0.0001, 300_000),
    ]
    made = of_pairs(np.linspace(0, 1, 3000), np.full(30, 0.8))
    assert [each.rate for each in made.thresholds] == [0.1, 0.01]


def in_pairs(persons: int) -> list[tuple[int, int]]:
    return [(one, other) for one in range(persons) for other in range(one)]


def test_pairs_that_share_persons_say_less_than_as_many_others() -> None:
    """Of 80 persons a few are like everybody; drawn anew they may be more or none."""
    draw = np.random.default_rng(1)
    pairs = in_pairs(80)
    popular = np.where(np.arange(80) < 6, 0.3, 0.0)
    impostors = np.array([popular[a] + popular[b] for a, b in pairs]) + draw.normal(
        0, 0.05, len(pairs)
    )
    genuine = draw.normal(0.8, 0.05, 80)
    persons = [(str(a), str(b)) for a, b in pairs] + [(str(p), str(p)) for p in range(80)]
    alone, shared = of_pairs(impostors, genuine), of_pairs(impostors, genuine, persons)
    assert shared.persons == 80
    low, high = alone.thresholds[0].interval
    lower, higher = shared.thresholds[0].interval
    assert lower < low - 0.01
    assert higher > high + 0.05


def test_a_rate_is_not_promised_where_it_hangs_on_a_few_persons() -> None:
    """One of 80 persons is like everybody: 1 percent of pairs or 5, by who is there."""
    draw = np.random.default_rng(2)
    pairs = in_pairs(80)
    impostors = draw.normal(0, 0.05, len(pairs))
    impostors[[0 in pair for pair in pairs]] += 0.5
    persons = [(str(a), str(b)) for a, b in pairs] + [(str(p), str(p)) for p in range(80)]
    made = of_pairs(impostors, np.full(80, 0.9), persons)
    assert [each.rate for each in made.thresholds] == [0.1]
    assert made.unsupported[0].rate == 0.01
    assert made.unsupported[0].pairs_needed > len(pairs)  # 3,160 would do, were they independent


def test_the_evidence_is_the_ratio_of_the_densities() -> None:
    """Normal at 0.6 and 0.2, both 0.1 wide: the logarithm of their ratio is 40 s - 16."""
    draw = np.random.default_rng(3)
    made = of_pairs(draw.normal(0.2, 0.1, 40_000), draw.normal(0.6, 0.1, 40_000))
    for similarity in (0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55):
        assert made.log_likelihood_ratio(similarity) == pytest.approx(40 * similarity - 16, abs=0.4)


def test_the_evidence_ascends_and_is_never_certain() -> None:
    draw = np.random.default_rng(4)
    made = of_pairs(draw.normal(0.2, 0.15, 400), draw.normal(0.4, 0.2, 60))
    similarities, ratios = zip(*made.evidence, strict=True)
    assert list(similarities) == sorted(set(similarities))
    assert list(ratios) == sorted(ratios)
    assert ratios[-1] < math.log(401 / 0.5)
    assert ratios[0] > math.log(0.5 / 61)


def crops(
    persons: int, per_modality: int, spread: float, seed: int, dim: int = 32
) -> tuple[NDArray[np.float32], list[str], list[str], list[str]]:
    """Return embeddings of made-up people: a direction each, and noise for every crop."""
    draw = np.random.default_rng(seed)
    rows, names, modalities, cameras = [], [], [], []
    for person in range(persons):
        centre = draw.normal(size=dim)
        for modality in ("visible", "infrared"):
            for number in range(per_modality):
                rows.append(centre + draw.normal(size=dim) * spread)
                names.append(f"p{person}")
                modalities.append(modality)
                cameras.append(f"{modality} {number}")
    embeddings = np.array(rows, np.float32).reshape(-1, dim)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    return embeddings, names, modalities, cameras


def counts(calibration: Calibration) -> dict[str, tuple[int, int]]:
    return {
        kind: (pair.genuine.total, pair.impostor.total) for kind, pair in calibration.kinds.items()
    }


def test_every_pair_of_crops_is_compared_once() -> None:
    """20 persons with 3 crops a modality: 60 in each."""
    embeddings, names, modalities, _ = crops(20, 3, 0.5, seed=5)
    assert counts(calibrate(embeddings, names, modalities)) == {
        "visible-visible": (20 * 3, 60 * 59 // 2 - 60),
        "infrared-visible": (20 * 9, 60 * 60 - 180),
        "infrared-infrared": (20 * 3, 60 * 59 // 2 - 60),
    }


def test_two_crops_of_a_person_by_one_camera_are_left_out() -> None:
    embeddings, names, modalities, _ = crops(20, 4, 0.5, seed=5)
    cameras = [None if place % 8 == 0 else str(place % 2) for place in range(160)]
    calibration = calibrate(embeddings, names, modalities, cameras)
    impostors = 80 * 79 // 2 - 20 * 6
    # cameras of a person, visible: none, 1, 0, 1; infrared: 0, 1, 0, 1
    assert counts(calibration)["visible-visible"] == (20 * 5, impostors)
    assert counts(calibration)["infrared-infrared"] == (20 * 4, impostors)
    assert counts(calibration)["infrared-visible"] == (20 * (4 + 6), 80 * 80 - 20 * 16)


def test_of_many_crops_all_persons_take_part_and_of_many_persons_some(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(labelled_pairs, "MAX_CROPS", 40)
    monkeypatch.setattr(labelled_pairs, "MAX_PERSONS", 20)
    embeddings, names, modalities, _ = crops(20, 5, 0.5, seed=6)
    twenty = calibrate(embeddings, names, modalities).kinds["infrared-visible"]
    assert (twenty.persons, twenty.genuine.total, twenty.impostor.total) == (20, 80, 1520)
    embeddings, names, modalities, _ = crops(50, 2, 0.5, seed=6)
    some = calibrate(embeddings, names, modalities).kinds["infrared-visible"]
    assert (some.persons, some.genuine.total, some.impostor.total) == (20, 80, 1520)


def test_a_modality_that_is_not_there_is_absent_with_the_reason() -> None:
    embeddings, names, modalities, _ = crops(20, 4, 0.5, seed=7)
    visible = np.flatnonzero(np.array(modalities) == "visible")
    calibration = calibrate(
        embeddings[visible], [names[place] for place in visible], ["visible"] * len(visible)
    )
    assert set(calibration.kinds) == {"visible-visible"}
    assert set(calibration.absent) == {"infrared-visible", "infrared-infrared"}
    assert "came 0 and 0" in calibration.absent["infrared-visible"]


@pytest.mark.parametrize("persons", [0, 1, 9])
def test_too_few_persons_make_no_calibration(persons: int) -> None:
    embeddings, names, modalities, _ = crops(persons, 8, 0.5, seed=8)
    with pytest.raises(CalibrationError, match="visible-visible: expected 30 genuine and 300"):
        calibrate(embeddings, names, modalities)


def test_what_does_not_belong_together_is_refused() -> None:
    embeddings, names, modalities, _ = crops(20, 4, 0.5, seed=9)
    with pytest.raises(CalibrationError, match="a label for each"):
        calibrate(embeddings, names[:-1], modalities)
    with pytest.raises(CalibrationError, match="a label for each"):
        calibrate(embeddings, names, modalities, ["1"])
    embeddings[3, 4] = np.nan
    with pytest.raises(CalibrationError, match="finite"):
        calibrate(embeddings, names, modalities)


def test_a_promised_rate_holds_within_its_interval_for_people_never_seen() -> None:
    """24 times 60 persons, against 60 others each: of 0.99 intervals hardly one fails."""
    kept = 0
    for seed in range(24):
        embeddings, names, modalities, _ = crops(60, 4, 0.6, seed=100 + seed)
        made = calibrate(embeddings, names, modalities).kinds["infrared-visible"]
        others, names, modalities, _ = crops(60, 4, 0.6, seed=200 + seed)
        visible = np.array(modalities) == "visible"
        different = np.array(names)[visible][:, None] != np.array(names)[~visible][None]
        similarities = (others[visible] @ others[~visible].T)[different]
        kept += all(
            each.interval[0] <= (similarities >= each.similarity).mean() <= each.interval[1]
            for each in made.thresholds
        )
        assert [each.rate for each in made.thresholds][:2] == [0.1, 0.01]
    assert kept >= 23


def test_probabilities_are_reliable_for_people_never_seen() -> None:
    """Expected calibration error over ten bins, at even odds and at one to sixty."""
    embeddings, names, modalities, _ = crops(60, 4, 0.9, seed=10)
    made = calibrate(embeddings, names, modalities)
    others, names, modalities, _ = crops(60, 4, 0.9, seed=11)
    visible = np.array(modalities) == "visible"
    same = np.array(names)[visible][:, None] == np.array(names)[~visible][None]
    similarities = others[visible] @ others[~visible].T
    for prior in (0.5, 1 / 60):
        weight = np.where(same, prior / same.mean(), (1 - prior) / (1 - same.mean()))
        probability = np.array(
            [
                made.probability("infrared-visible", similarity, prior=prior)
                for similarity in similarities.ravel().tolist()
            ],
            np.float64,
        ).reshape(similarities.shape)
        bins = np.minimum((probability * 10).astype(int), 9)
        error = sum(
            abs((weight * (probability - same))[bins == number].sum()) for number in range(10)
        )
        assert error / weight.sum() <= 0.03
