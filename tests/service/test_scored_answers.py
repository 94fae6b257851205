"""Answers that say how sure they are: probabilities, and thresholds at a false-accept rate."""

import functools
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from gallery_index.gallery import Gallery
from gallery_index.query_reranking import reranked
from gallery_index.records import NewEntry
from model.calibration import Calibration, PairKind
from service.app import create_app
from service.audit.log import AuditLog
from service.bodies.fields import QueryFields
from service.refresh.served import ServedModel
from service.searching import Found, find
from service.settings import ServiceSettings
from tests.service.asgi import running
from tests.service.claims import problem_of
from tests.service.judged import AngleEncoder, calibrated, cosine, crop_at, measured

THRESHOLDS: dict[PairKind, float] = {
    "visible-visible": 0.9,
    "infrared-visible": 0.6,
    "infrared-infrared": 0.95,
}
NEAR = 1e-3
"""The gallery keeps half precision."""
COUNT = 60


@contextmanager
def service(
    settings: ServiceSettings,
    gallery: Gallery,
    calibration: Calibration | None,
    audit: AuditLog | None = None,
) -> Iterator[httpx.Client]:
    model = ServedModel(AngleEncoder(), calibration=calibration)
    with (
        running(create_app(settings, model, gallery, audit=audit)) as transport,
        httpx.Client(transport=transport, base_url="http://localhost") as client,
    ):
        yield client


@pytest.fixture
def judging(settings: ServiceSettings, gallery: Gallery) -> Iterator[httpx.Client]:
    """A service with a calibrated model and nobody in its gallery."""
    with service(settings, gallery, calibrated(THRESHOLDS)) as client:
        yield client


def enrol(
    http: httpx.Client, degrees: int, modality: str, entry_id: str, person_id: str | None = None
) -> None:
    data = {"modality": modality, "entry_id": entry_id}
    if person_id is not None:
        data["person_id"] = person_id
    sent = http.post("/gallery", files={"file": crop_at(degrees)}, data=data)
    assert sent.status_code == 201, sent.text


def ask(http: httpx.Client, *degrees: int, **fields: str) -> httpx.Response:
    return http.post(
        "/query",
        files=[("file", crop_at(each)) for each in degrees],
        data={"modality": "infrared", **fields},
    )


def answer(http: httpx.Client, *degrees: int, **fields: str) -> dict[str, Any]:
    response = ask(http, *degrees, **fields)
    assert response.status_code == 200, response.text
    body: dict[str, Any] = response.json()
    return body


def found(body: dict[str, Any]) -> list[str]:
    return [match["entry_id"] for match in body["matches"]]


def test_a_match_has_the_probability_of_its_pair_of_modalities(
    settings: ServiceSettings, gallery: Gallery
) -> None:
    with service(settings, gallery, calibrated({"infrared-visible": 0.6})) as http:
        enrol(http, 60, "visible", "v")
        enrol(http, 60, "infrared", "i")
        body = answer(http, 0)
    by_id = {match["entry_id"]: match for match in body["matches"]}
    assert body["prior"] == pytest.approx(1 / 3)
    assert by_id["v"]["probability"] == pytest.approx(1 / 3 * 0.5, abs=NEAR)
    assert by_id["i"]["probability"] is None


def test_a_person_is_any_of_those_in_the_gallery_or_somebody_else(
    judging: httpx.Client,
) -> None:
    assert answer(judging, 0)["prior"] == 1 / 2
    enrol(judging, 10, "visible", "a", "p")
    enrol(judging, 11, "infrared", "b", "p")
    assert answer(judging, 0)["prior"] == 1 / 2
    enrol(judging, 12, "visible", "c", "q")
    enrol(judging, 13, "visible", "d")
    assert answer(judging, 0, target_modality="infrared")["prior"] == 1 / 4


def test_without_a_rate_nothing_is_left_out_and_nothing_said_of_it(judging: httpx.Client) -> None:
    enrol(judging, 89, "visible", "far")
    body = answer(judging, 0)
    assert found(body) == ["far"]
    said = {name: body[name] for name in ("thresholds", "compared", "expected_false_accepts")}
    assert said == {"thresholds": None, "compared": None, "expected_false_accepts": None}
    assert body["unknown"] is False


def test_a_rate_leaves_out_what_is_below_the_threshold_of_its_own_pair(
    judging: httpx.Client,
) -> None:
    enrol(judging, 52, "visible", "v-in")  # 0.616
    enrol(judging, 54, "visible", "v-out")  # 0.588
    enrol(judging, 17, "infrared", "i-in")  # 0.956
    enrol(judging, 19, "infrared", "i-out")  # 0.946
    body = answer(judging, 0, max_false_accept_rate="0.01")
    assert found(body) == ["i-in", "v-in"]
    assert [match["rank"] for match in body["matches"]] == [1, 2]
    assert body["thresholds"] == {"infrared-visible": 0.6, "infrared-infrared": 0.95}
    assert (body["compared"], body["expected_false_accepts"]) == (4, pytest.approx(0.04))
    one = answer(judging, 0, max_false_accept_rate="0.01", target_modality="visible")
    assert found(one) == ["v-in"]
    assert one["thresholds"] == {"infrared-visible": 0.6}
    assert (one["compared"], one["expected_false_accepts"]) == (2, pytest.approx(0.02))


@pytest.mark.parametrize("rerank", ["false", "true"])
@pytest.mark.parametrize("group_by", ["entry", "person"])
def test_as_many_come_as_asked_for_though_nearer_ones_are_left_out(
    judging: httpx.Client, monkeypatch: pytest.MonkeyPatch, rerank: str, group_by: str
) -> None:
    """Infrared entries fill the first places and are not near enough; visible ones behind are."""
    monkeypatch.setattr("service.searching.CANDIDATES", 3)
    monkeypatch.setattr("gallery_index.gallery.reranked", functools.partial(reranked, candidates=3))
    for number in range(6):
        enrol(judging, 20 + number, "infrared", f"i{number}", f"someone {number}")
        enrol(judging, 40 + number, "visible", f"v{number}", f"p{number}")
    body = answer(
        judging, 0, max_false_accept_rate="0.01", top_k="4", rerank=rerank, group_by=group_by
    )
    assert found(body) == ["v0", "v1", "v2", "v3"]


@pytest.mark.parametrize("rerank", ["false", "true"])
def test_a_person_is_shown_by_the_best_entry_that_passes(
    judging: httpx.Client, rerank: str
) -> None:
    enrol(judging, 30, "infrared", "nearer", "p")  # 0.866 of 0.95
    enrol(judging, 45, "visible", "passes", "p")  # 0.707 of 0.6
    enrol(judging, 20, "infrared", "other", "q")  # 0.940
    body = answer(judging, 0, max_false_accept_rate="0.01", group_by="person", rerank=rerank)
    assert found(body) == ["passes"]


@pytest.mark.parametrize(
    ("min_similarity", "expected"), [("-1", ["v"]), ("0.7", ["v"]), ("0.8", [])]
)
def test_the_higher_of_threshold_and_least_similarity_counts(
    judging: httpx.Client, min_similarity: str, expected: list[str]
) -> None:
    enrol(judging, 40, "visible", "v")  # 0.766
    enrol(judging, 55, "visible", "below")  # 0.574
    body = answer(judging, 0, max_false_accept_rate="0.01", min_similarity=min_similarity)
    assert found(body) == expected
    assert body["unknown"] is (not expected)
    assert body["thresholds"]["infrared-visible"] == 0.6


@pytest.mark.parametrize("fields", [{"max_false_accept_rate": "0.01"}, {"min_similarity": "0.9"}])
@pytest.mark.parametrize("rerank", ["false", "true"])
def test_where_nobody_passes_the_person_is_unknown(
    judging: httpx.Client, fields: dict[str, str], rerank: str
) -> None:
    empty = answer(judging, 0, rerank=rerank)
    assert (empty["unknown"], empty["matches"]) == (True, [])
    assert answer(judging, 0, rerank=rerank, **fields)["unknown"] is True
    enrol(judging, 70, "visible", "v")
    assert answer(judging, 0, rerank=rerank)["unknown"] is False
    body = answer(judging, 0, rerank=rerank, **fields)
    assert (body["unknown"], body["matches"]) == (True, [])


def test_several_crops_are_judged_by_the_mean_of_their_similarities(
    judging: httpx.Client,
) -> None:
    """Crops at 0 and 60 degrees: their mean lies at 30, 0.866 long; both are 0.866 like 30."""
    enrol(judging, 30, "visible", "between")
    enrol(judging, 74, "visible", "in")  # 0.719 to the direction, 0.623 on average
    enrol(judging, 78, "visible", "out")  # 0.669, 0.579
    body = answer(judging, 0, 60, max_false_accept_rate="0.01")
    assert found(body) == ["between", "in"]
    assert body["thresholds"]["infrared-visible"] == pytest.approx(0.6 / cosine(30), abs=1e-6)
    first = body["matches"][0]
    assert first["similarity"] == pytest.approx(1, abs=NEAR)
    assert first["probability"] == pytest.approx(cosine(30) / 4, abs=NEAR)
    second = body["matches"][1]
    mean = (cosine(74) + cosine(14)) / 2
    assert second["probability"] == pytest.approx(mean / 4, abs=NEAR)


def test_crops_too_unlike_each_other_for_a_threshold_find_nobody(judging: httpx.Client) -> None:
    """At 0 and 120 degrees nobody is more than 0.5 like both on average."""
    enrol(judging, 60, "visible", "between")
    body = answer(judging, 0, 120, max_false_accept_rate="0.01")
    assert body["unknown"] is True
    assert body["thresholds"]["infrared-visible"] == pytest.approx(0.6 / 0.5, abs=1e-6)


def test_a_rate_is_refused_where_the_model_is_not_calibrated(
    settings: ServiceSettings, gallery: Gallery
) -> None:
    asked = {"max_false_accept_rate": "0.01"}
    with service(settings, gallery, None) as http:
        problem = problem_of(ask(http, 0, **asked), 422, "not_calibrated")
        assert "infrared-visible" in problem["detail"]
    with service(settings, gallery, calibrated({"infrared-visible": 0.6})) as http:
        problem = problem_of(ask(http, 0, **asked), 422, "not_calibrated")
        assert "infrared-infrared" in problem["detail"]
        assert "infrared-visible" not in problem["detail"]
        assert ask(http, 0, **asked, target_modality="visible").status_code == 200
        problem_of(ask(http, 0, **asked, target_modality="infrared"), 422, "not_calibrated")


def test_a_rate_lower_than_the_data_support_is_refused_with_what_they_do(
    judging: httpx.Client,
) -> None:
    problem = problem_of(ask(judging, 0, max_false_accept_rate="0.0001"), 422, "rate_not_supported")
    for said in ("infrared-visible", "infrared-infrared", "0.001", "30000"):
        assert said in problem["detail"].replace(",", "")
    assert "visible-visible" not in problem["detail"]


@pytest.mark.parametrize(
    ("rate", "code"),
    [
        ("0", "rate_not_supported"),
        ("-0.0", "rate_not_supported"),
        ("5e-324", "rate_not_supported"),
        ("1e-400", "rate_not_supported"),
        ("1e-4", "rate_not_supported"),
        ("nan", "invalid_fields"),
        ("inf", "invalid_fields"),
        ("1.0000001", "invalid_fields"),
        ("-1e-9", "invalid_fields"),
        ("1e-2%", "invalid_fields"),
        ("", "invalid_fields"),
    ],
)
def test_no_rate_is_too_strange_to_be_refused(
    settings: ServiceSettings, gallery: Gallery, rate: str, code: str
) -> None:
    with service(settings, gallery, measured()) as http:
        visible = {"modality": "visible", "max_false_accept_rate": rate}
        asked = ask(http, 0, **visible, target_modality="visible")
        problem_of(asked, 422, code)
        files = [("file", crop_at(0)), ("file", crop_at(1))]
        problem_of(http.post("/compare", files=files, data=visible), 422, code)


def test_at_a_rate_of_one_everybody_passes(settings: ServiceSettings, gallery: Gallery) -> None:
    with service(settings, gallery, measured()) as http:
        enrol(http, 89, "visible", "far")
        body = answer(
            http, 0, modality="visible", target_modality="visible", max_false_accept_rate="1"
        )
    assert found(body) == ["far"]
    assert body["expected_false_accepts"] == 1


def test_a_comparison_has_probability_and_threshold_of_its_own_pair(
    judging: httpx.Client,
) -> None:
    def compare(second: int, **fields: str) -> dict[str, Any]:
        response = judging.post(
            "/compare",
            files=[("file", crop_at(0)), ("file", crop_at(second))],
            data={"modality": ["visible", "infrared"], **fields},
        )
        assert response.status_code == 200, response.text
        body: dict[str, Any] = response.json()
        return body

    plain = compare(60)
    assert plain["probability"] == pytest.approx(0.5 * 0.5, abs=1e-6)
    assert (plain["threshold"], plain["accepted"]) == (None, None)
    far = compare(60, max_false_accept_rate="0.01")
    assert (far["threshold"], far["accepted"]) == (0.6, False)
    near = compare(50, max_false_accept_rate="0.01")
    assert (near["threshold"], near["accepted"]) == (0.6, True)


def test_a_comparison_is_refused_a_rate_that_its_pair_has_not(
    settings: ServiceSettings, gallery: Gallery
) -> None:
    files = [("file", crop_at(0)), ("file", crop_at(1))]
    with service(settings, gallery, calibrated({"infrared-visible": 0.6})) as http:
        for rate, modality, code in [
            ("0.01", "visible", "not_calibrated"),
            ("0.0001", ["visible", "infrared"], "rate_not_supported"),
        ]:
            data = {"modality": modality, "max_false_accept_rate": rate}
            problem_of(http.post("/compare", files=files, data=data), 422, code)


def test_the_audit_line_has_rate_thresholds_and_that_nobody_was_found(
    settings: ServiceSettings, gallery: Gallery, tmp_path: Path
) -> None:
    log = AuditLog.open(tmp_path / "audit", keep_days=1)
    with service(settings, gallery, calibrated(THRESHOLDS), log) as http:
        answer(http, 0, max_false_accept_rate="0.01", target_modality="visible")
    log.close()
    [path] = (tmp_path / "audit").glob("*.jsonl")
    line = json.loads(path.read_text().splitlines()[-1])
    assert line["fields"]["max_false_accept_rate"] == 0.01
    assert line["thresholds"] == {"infrared-visible": 0.6}
    assert line["unknown"] is True


@pytest.mark.parametrize("seed", range(20))
def test_what_is_accepted_is_what_brute_force_accepts(gallery: Gallery, seed: int) -> None:
    draw = np.random.default_rng(seed)
    similarity = draw.permutation(np.linspace(0.05, 0.95, COUNT))
    directions = np.zeros((COUNT, AngleEncoder.config.embedding_dim), np.float32)
    directions[:, 0], directions[:, 1] = similarity, np.sqrt(1 - similarity**2)
    modalities = draw.choice(["visible", "infrared"], COUNT).tolist()
    persons = [str(person) if person else None for person in draw.integers(0, 15, COUNT)]
    gallery.add(
        [
            NewEntry(
                embedding=directions[place],
                crop=bytes([place]),
                media_type="image/png",
                modality=modalities[place],
                entry_id=str(place),
                person_id=persons[place],
            )
            for place in range(COUNT)
        ]
    )
    least = {"visible": draw.uniform(0.2, 0.8), "infrared": draw.uniform(0.2, 0.8)}
    top_k = int(draw.integers(1, 20))
    passing = [
        place
        for place in np.argsort(-similarity).tolist()
        if similarity[place] >= least[modalities[place]]
    ]
    best: dict[str, int] = {}
    for place in passing:
        best.setdefault(persons[place] or f"alone {place}", place)
    for group_by, expected in [("entry", passing), ("person", list(best.values()))]:
        answer = found_by(gallery, least, top_k=top_k, group_by=group_by)
        assert [int(match.entry.entry_id) for match in answer.matches] == expected[:top_k]
        assert answer.compared == COUNT
        answer = found_by(gallery, least, top_k=top_k, group_by=group_by, rerank=True)
        assert len(answer.matches) == min(top_k, len(expected))
        assert {int(match.entry.entry_id) for match in answer.matches} <= set(passing)


def found_by(gallery: Gallery, least: dict[str, float], **fields: object) -> Found:
    query = np.zeros(AngleEncoder.config.embedding_dim, np.float32)
    query[0] = 1
    thresholds: dict[PairKind, float] = {
        "infrared-visible": least["visible"],
        "infrared-infrared": least["infrared"],
    }
    asked = QueryFields.model_validate({"modality": "infrared", **fields})
    return find(gallery, query, asked, gallery.model_id, thresholds)
