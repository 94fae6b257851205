"""The drift signal: scores of pairs that nobody chose, against the impostors of the calibration."""

from collections.abc import Mapping

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from gallery_index.errors import StoreUnavailableError
from gallery_index.gallery import Gallery
from gallery_index.records import NewEntry
from model.calibrating import calibrate
from model.calibration import Calibration, PairKind
from service.app import create_app
from service.observing.exposition import exposition
from service.observing.score_drift import DRAWN, LEAST, WINDOW, ScoreDrift
from service.refresh.served import ServedModel
from service.settings import ServiceSettings
from tests.service.asgi import running
from tests.service.fakes import CONFIG, MODEL_ID, TinyEncoder, crop
from tests.service.judged import AngleEncoder, calibrated, crop_at, measured
from tests.service.prometheus_text import read_exposition

VISIBLE: PairKind = "visible-visible"
DIM = CONFIG.embedding_dim


def value_of(labels: frozenset[tuple[str, str]]) -> str:
    [(_, value)] = labels
    return value


def told(drift: ScoreDrift, metric: str) -> Mapping[str, float]:
    """Return the samples of a metric by their label."""
    families = read_exposition(exposition(drift.families()))
    if metric not in families:
        return {}
    return {value_of(labels): value for (_, labels), value in families[metric].samples.items()}


def seen(drift: ScoreDrift, calibration: Calibration, scores: NDArray[np.float64]) -> None:
    drift.observe(calibration, [(VISIBLE, score) for score in scores.tolist()])


def test_scores_like_the_impostors_are_no_drift() -> None:
    drift = ScoreDrift()
    seen(drift, measured(), np.random.default_rng(1).uniform(0, 0.5, WINDOW))
    assert told(drift, "mpanet_score_drift")[VISIBLE] < 0.05
    assert told(drift, "mpanet_score_shift")[VISIBLE] == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize("shift", [-0.1, 0.1])
def test_shifted_scores_are_as_far_off_as_the_shares_differ(shift: float) -> None:
    """Evenly over 0.5 and moved by 0.1: a fifth lies where none was."""
    drift = ScoreDrift()
    seen(drift, measured(), np.random.default_rng(1).uniform(0, 0.5, WINDOW) + shift)
    assert told(drift, "mpanet_score_drift")[VISIBLE] == pytest.approx(0.2, abs=0.03)
    assert told(drift, "mpanet_score_shift")[VISIBLE] == pytest.approx(shift, abs=0.01)


def test_scores_that_lie_beyond_every_impostor_are_all_the_way_off() -> None:
    drift = ScoreDrift()
    seen(drift, measured(), np.full(LEAST, 0.9))
    assert told(drift, "mpanet_score_drift")[VISIBLE] == 1


def test_nothing_is_said_of_few_scores_but_how_many_they_are() -> None:
    drift = ScoreDrift()
    seen(drift, measured(), np.full(LEAST - 1, 0.9))
    assert told(drift, "mpanet_score_drift") == {}
    assert told(drift, "mpanet_score_window") == {VISIBLE: LEAST - 1}
    seen(drift, measured(), np.full(1, 0.9))
    assert told(drift, "mpanet_score_window") == {VISIBLE: 1}


def test_old_scores_make_place_for_new_ones() -> None:
    drift, calibration = ScoreDrift(), measured()
    seen(drift, calibration, np.full(WINDOW, 0.9))
    seen(drift, calibration, np.random.default_rng(1).uniform(0, 0.5, WINDOW))
    assert told(drift, "mpanet_score_window") == {VISIBLE: WINDOW}
    assert told(drift, "mpanet_score_drift")[VISIBLE] < 0.05


def test_another_calibration_begins_anew() -> None:
    drift = ScoreDrift()
    seen(drift, measured(), np.full(LEAST, 0.9))
    seen(drift, measured(0.1), np.full(1, 0.2))
    assert told(drift, "mpanet_score_window") == {VISIBLE: 1}


def people(persons: int, common: float, seed: int) -> NDArray[np.float32]:
    """Return a direction a person, (persons, DIM); the more in common, the more alike all are."""
    draw = np.random.default_rng(seed)
    rows = draw.normal(size=(persons, DIM)).astype(np.float32)
    rows[:, :8] *= 14  # few directions matter, so similarities are spread
    rows[:, 8] += common * np.sqrt(DIM)
    unit: NDArray[np.float32] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit


def crops_of(directions: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    noise = np.random.default_rng(seed).normal(size=directions.shape) * 0.3 / np.sqrt(DIM)
    rows = directions + noise.astype(np.float32)
    unit: NDArray[np.float32] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    known = people(60, 0.0, seed=1)
    embeddings = np.concatenate([crops_of(known, seed) for seed in range(4)])
    names = [str(person) for person in range(60)] * 4
    return calibrate(embeddings, names, ["visible"] * 240)


@pytest.mark.parametrize(("common", "drifted"), [(0.0, False), (0.3, True)])
def test_shifted_embeddings_raise_the_signal_and_unshifted_ones_do_not(
    gallery: Gallery, calibration: Calibration, common: float, drifted: bool
) -> None:
    """Other people than those of the calibration; shifted, everybody has something in common."""
    others = people(60, common, seed=2)
    gallery.add(
        [
            NewEntry(embedding=row, crop=bytes([place]), media_type="image/png", modality="visible")
            for place, row in enumerate(crops_of(others, 3))
        ]
    )
    drift, model = ScoreDrift(), ServedModel(TinyEncoder(), calibration=calibration)
    for seed in range(4):
        for row in crops_of(others, 10 + seed):
            drift.look(gallery, model, "visible", row)
    assert told(drift, "mpanet_score_window") == {VISIBLE: 240 * DRAWN}
    assert (told(drift, "mpanet_score_drift")[VISIBLE] > 0.1) is drifted
    assert (told(drift, "mpanet_score_shift")[VISIBLE] > 0.05) is drifted


def test_a_look_that_cannot_be_had_is_left_out(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object, **__: object) -> None:
        raise StoreUnavailableError("away")

    drift, model = ScoreDrift(), ServedModel(TinyEncoder(), calibration=measured())
    query = np.ones(DIM, np.float32)
    gallery.add([NewEntry(embedding=query, crop=b"1", media_type="", modality="visible")])
    drift.look(gallery, ServedModel(TinyEncoder()), "visible", query)
    assert told(drift, "mpanet_score_window") == {}
    monkeypatch.setattr(gallery, "random_matches", away)
    drift.look(gallery, model, "visible", query)
    assert told(drift, "mpanet_score_window") == {}
    monkeypatch.undo()
    drift.look(gallery, model, "visible", query)
    assert told(drift, "mpanet_score_window") == {VISIBLE: 1}


def test_every_query_is_looked_at_and_counted_by_whether_somebody_is_known(
    settings: ServiceSettings, gallery: Gallery
) -> None:
    model = ServedModel(AngleEncoder(), calibration=calibrated({VISIBLE: 0.9}))
    with (
        running(create_app(settings, model, gallery)) as transport,
        httpx.Client(transport=transport, base_url="http://localhost") as http,
    ):
        visible = {"modality": "visible", "target_modality": "visible"}
        http.post("/gallery", files={"file": crop_at(0)}, data={"modality": "visible"})

        def outcomes() -> Mapping[str, float]:
            families = read_exposition(http.get("/metrics").text)
            samples = families["mpanet_judged_queries_total"].samples
            return {value_of(labels): value for (_, labels), value in samples.items()}

        for degrees, asked, expected in [
            (20, {}, (1, 0)),  # 0.94
            (30, {}, (1, 1)),  # 0.87
            (30, {"max_false_accept_rate": "0.01"}, (1, 2)),
            (30, {"min_similarity": "0.89"}, (1, 2)),
            (20, {"min_similarity": "0.89"}, (1, 2)),
            (20, {"target_modality": "any"}, (1, 2)),  # no calibration of the other pair
        ]:
            data = {**visible, **asked}
            answer = http.post("/query", files={"file": crop_at(degrees)}, data=data)
            assert answer.status_code == 200, answer.text
            assert outcomes() == {"known": expected[0], "unknown": expected[1]}
        families = read_exposition(http.get("/metrics").text)
        assert list(families["mpanet_score_window"].samples.values()) == [6]


def test_a_service_without_a_calibration_says_nothing_of_scores(
    shared_http: httpx.Client,
) -> None:
    shared_http.post("/query", files={"file": crop(1)}, data={"modality": "visible"})
    families = read_exposition(shared_http.get("/metrics").text)
    assert not {"mpanet_score_drift", "mpanet_score_shift", "mpanet_score_window"} & set(families)
    assert sum(families["mpanet_judged_queries_total"].samples.values()) == 0
    assert MODEL_ID in str(families["mpanet_model_info"].samples)
