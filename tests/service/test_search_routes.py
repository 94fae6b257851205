"""Querying, embedding and comparing over HTTP."""

import functools
from contextlib import closing
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from gallery_index.gallery import Gallery
from gallery_index.query_reranking import reranked
from service.app import create_app
from service.settings import ServiceSettings
from tests.service.asgi import running
from tests.service.claims import fields_of, problem_of
from tests.service.fakes import MODEL_ID, ProjectedEncoder, crop, pixels
from tests.service.test_gallery_routes import enrol

QUERY_FIELDS = {
    *("query_id", "model_id", "gallery_size", "timings_ms", "unknown", "matches"),
    *("prior", "thresholds", "compared", "expected_false_accepts"),
}
COMPARE_FIELDS = {
    *("model_id", "similarity", "probability", "threshold", "accepted", "patterns"),
}
MATCH_FIELDS = {
    "rank",
    "entry_id",
    "person_id",
    "camera_id",
    "modality",
    "captured_at",
    "similarity",
    "probability",
    "crop_url",
}
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def direction(seed: int) -> NDArray[np.float64]:
    """Embed a crop by hand."""
    flat = ((pixels(seed) / 255 - MEAN) / STD).transpose(2, 0, 1).ravel()
    unit: NDArray[np.float64] = flat / np.linalg.norm(flat)
    return unit


def query(http: httpx.Client, *seeds: int, **fields: str | list[str]) -> dict[str, Any]:
    response = http.post(
        "/query",
        files=[("file", crop(seed)) for seed in seeds],
        data={"modality": "infrared", **fields},
    )
    assert response.status_code == 200, response.text
    answer = response.json()
    assert isinstance(answer, dict)
    return answer


def found(answer: dict[str, Any]) -> list[str]:
    return [match["entry_id"] for match in answer["matches"]]


def backwards(similarities: NDArray[np.float32], vectors: NDArray[np.float16]) -> NDArray[np.intp]:
    """Stands in for the order of re-ranking."""
    assert len(vectors) == len(similarities)
    return np.arange(len(similarities))[::-1]


@pytest.fixture
def enrolled(http: httpx.Client) -> httpx.Client:
    noted = {"captured_at": "2026-01-01T00:00:00Z", "attributes": '{"bag": true, "floor": 1}'}
    enrol(http, 1, entry_id="a", person_id="p", camera_id="1", **noted)
    noted = {"captured_at": "2026-01-02T00:00:00Z", "attributes": '{"site": null, "floor": 1}'}
    enrol(http, 2, entry_id="b", person_id="q", camera_id="2", **noted)
    enrol(http, 3, entry_id="c", person_id="q", camera_id="2")
    http.post("/gallery", files={"file": crop(4)}, data={"modality": "infrared", "entry_id": "d"})
    return http


def test_the_same_crop_comes_back_first(enrolled: httpx.Client) -> None:
    answer = query(enrolled, 2)
    assert set(answer) == QUERY_FIELDS
    assert answer["model_id"] == MODEL_ID
    assert answer["gallery_size"] == 4
    assert set(answer["timings_ms"]) == {"decode", "queue", "embed", "search", "rerank"}
    assert all(value >= 0 for value in answer["timings_ms"].values())
    first = answer["matches"][0]
    assert set(first) == MATCH_FIELDS
    assert (first["entry_id"], first["rank"], first["probability"]) == ("b", 1, None)
    assert first["similarity"] == pytest.approx(1, abs=1e-3)
    assert first["crop_url"] == "/gallery/b/crop"
    assert [match["rank"] for match in answer["matches"]] == [1, 2, 3, 4]


def test_similarity_is_the_cosine_of_the_embeddings(enrolled: httpx.Client) -> None:
    by_id = {m["entry_id"]: m["similarity"] for m in query(enrolled, 1)["matches"]}
    for entry_id, seed in [("a", 1), ("b", 2), ("c", 3), ("d", 4)]:
        assert by_id[entry_id] == pytest.approx(direction(1) @ direction(seed), abs=2e-3)


def test_several_crops_are_averaged_to_one_direction(enrolled: httpx.Client) -> None:
    mean = direction(1) + direction(2)
    mean /= np.linalg.norm(mean)
    by_id = {m["entry_id"]: m["similarity"] for m in query(enrolled, 1, 2)["matches"]}
    assert by_id["a"] == pytest.approx(mean @ direction(1), abs=2e-3)
    assert by_id["c"] == pytest.approx(mean @ direction(3), abs=2e-3)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"top_k": "1"}, {"b"}),
        ({"target_modality": "infrared"}, {"d"}),
        ({"target_modality": "visible"}, {"a", "b", "c"}),
        ({"target_modality": "any", "top_k": "1000"}, {"a", "b", "c", "d"}),
        ({"camera_id": "2"}, {"b", "c"}),
        ({"exclude_camera_id": "2"}, {"a", "d"}),
        ({"person_id": "p"}, {"a"}),
        ({"captured_after": "2026-01-01T12:00:00Z"}, {"b"}),
        ({"captured_before": "2026-01-01T12:00:00Z"}, {"a"}),
        ({"min_similarity": "0.99"}, {"b"}),
        ({"group_by": "entry", "rerank": "false", "explain": "false"}, {"a", "b", "c", "d"}),
        ({"rerank": "False", "explain": "0"}, {"a", "b", "c", "d"}),
        ({"person_id": "nobody"}, set()),
        ({"person_id": ["p", "q"]}, {"a", "b", "c"}),
        ({"exclude_person_id": "q"}, {"a", "d"}),
        ({"exclude_person_id": ["q", "p", "nobody"]}, {"d"}),
        ({"camera_id": ["1", "2"]}, {"a", "b", "c"}),
        ({"exclude_camera_id": ["1", "2"]}, {"d"}),
        ({"camera_id": "2", "exclude_person_id": "q"}, set()),
        ({"attributes": '{"bag": true}'}, {"a"}),
        ({"attributes": '{"bag": true, "floor": 1}'}, {"a"}),
        ({"attributes": '{"bag": 1}'}, set()),
        ({"attributes": '{"floor": 1.0}'}, {"a", "b"}),
        ({"attributes": '{"site": null}'}, {"b"}),
        ({"attributes": "{}"}, {"a", "b", "c", "d"}),
    ],
)
@pytest.mark.parametrize("rerank", ["false", "true"])
def test_what_a_query_may_ask_for(
    enrolled: httpx.Client, fields: dict[str, Any], expected: set[str], rerank: str
) -> None:
    assert set(found(query(enrolled, 2, **{"rerank": rerank, **fields}))) == expected


def test_grouped_by_person_each_comes_once(enrolled: httpx.Client) -> None:
    people = [m["person_id"] for m in query(enrolled, 2, group_by="person")["matches"]]
    assert people[0] == "q"
    assert people.count("q") == 1


@pytest.fixture
def few_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the three nearest entries are re-ranked."""
    monkeypatch.setattr("service.searching.CANDIDATES", 3)
    monkeypatch.setattr("gallery_index.gallery.reranked", functools.partial(reranked, candidates=3))


def test_re_ranked_matches_keep_their_similarity_and_are_ranked_anew(
    enrolled: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Turned round by a stand-in: the last of the nearest becomes the first."""
    plain = query(enrolled, 2)
    assert plain["timings_ms"]["rerank"] == 0
    monkeypatch.setattr("gallery_index.query_reranking.order_around", backwards)
    answer = query(enrolled, 2, rerank="true")
    assert answer["timings_ms"]["rerank"] > 0
    assert [match["rank"] for match in answer["matches"]] == [1, 2, 3, 4]
    assert found(answer) == found(plain)[::-1]
    assert {**answer["matches"][3], "rank": 1} == plain["matches"][0]
    two = query(enrolled, 2, rerank="true", top_k="2")
    assert two["matches"] == answer["matches"][:2]


def test_re_ranked_the_least_similarity_is_a_plain_one(
    enrolled: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = query(enrolled, 2)
    floor = (plain["matches"][1]["similarity"] + plain["matches"][2]["similarity"]) / 2
    monkeypatch.setattr("gallery_index.query_reranking.order_around", backwards)
    answer = query(enrolled, 2, rerank="true", min_similarity=str(floor), top_k="2")
    assert found(answer) == found(plain)[1::-1]


def test_re_ranked_a_person_shows_the_best_of_the_new_order(
    enrolled: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of person q, b is plainly the nearest and c is the first when all are turned round."""
    plain = found(query(enrolled, 2))
    assert plain.index("b") < plain.index("c")
    monkeypatch.setattr("gallery_index.query_reranking.order_around", backwards)
    answer = query(enrolled, 2, rerank="true", group_by="person")
    assert found(answer) == [entry_id for entry_id in plain[::-1] if entry_id != "b"]


@pytest.mark.usefixtures("few_candidates")
def test_behind_the_re_ranked_entries_the_others_follow(
    enrolled: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in range(5, 9):
        enrol(enrolled, seed, entry_id=f"e{seed}", person_id=f"p{seed}")
    plain = found(query(enrolled, 2))
    monkeypatch.setattr("gallery_index.query_reranking.order_around", backwards)
    expected = plain[2::-1] + plain[3:]
    assert found(query(enrolled, 2, rerank="true")) == expected
    assert found(query(enrolled, 2, rerank="true", top_k="5")) == expected[:5]


@pytest.mark.usefixtures("few_candidates")
def test_a_tracklet_that_fills_the_candidates_hides_no_other_person(http: httpx.Client) -> None:
    """As many as asked for, although what is re-ranked shows one person and a nameless entry."""
    for number in range(2):
        enrol(http, 1, entry_id=f"p{number}", person_id="p")
    enrol(http, 1, entry_id="nobody")
    for number in range(2):
        enrol(http, 2, entry_id=f"q{number}", person_id="q")
    answer = query(http, 1, rerank="true", group_by="person", top_k="3")
    plain = query(http, 1, group_by="person", top_k="3")
    assert found(plain) == ["p0", "nobody", "q0"]
    assert sorted(found(answer)) == sorted(found(plain))
    assert found(answer)[2] == "q0"
    assert len(query(http, 1, rerank="true", group_by="person", top_k="1")["matches"]) == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("top_k", "0"),
        ("top_k", "1001"),
        ("top_k", "-1"),
        ("top_k", "ten"),
        ("top_k", "1.0"),
        ("top_k", ""),
        ("top_k", "9" * 5000),
        ("target_modality", "thermal"),
        ("group_by", "camera"),
        ("rerank", "yes"),
        ("explain", "yes"),
        ("min_similarity", "2"),
        ("min_similarity", "nan"),
        ("min_similarity", "inf"),
        ("max_false_accept_rate", "-0.1"),
        ("captured_after", "2026-01-01"),
        ("captured_after", "2026-01-01T00:00:00"),
        ("captured_after", "2026-13-01T00:00:00Z"),
        ("captured_before", "0001-01-01T00:00:00+23:59"),
        ("captured_before", "1700000000"),
        ("person_id", ""),
        ("person_id", "a\x00b"),
        ("camera_id", "x" * 129),
        ("exclude_camera_id", "line\nbreak"),
        ("exclude_person_id", ["a", ""]),
        ("camera_id", ["x"] * 65),
        ("attributes", "bag"),
        ("attributes", "[]"),
        ("attributes", '{"bag": ["red"]}'),
        ("attributes", '{"bag": {}}'),
        ("attributes", '{"bag": NaN}'),
        ("modality", "Visible"),
        ("threshold", "0.5"),
    ],
)
def test_a_query_with_a_bad_field_names_it(
    shared_http: httpx.Client, field: str, value: str | list[str]
) -> None:
    data: dict[str, str | list[str]] = {"modality": "visible", field: value}
    response = shared_http.post("/query", files={"file": crop(1)}, data=data)
    problem = problem_of(response, 422, "invalid_fields")
    assert fields_of(problem) == {field}


def test_a_message_says_what_was_expected_and_what_came(shared_http: httpx.Client) -> None:
    response = shared_http.post(
        "/query", files={"file": crop(1)}, data={"modality": "ir", "top_k": "0", "topk": "5"}
    )
    problem = problem_of(response, 422, "invalid_fields")
    by_field = {error["field"]: error for error in problem["errors"]}
    assert by_field["modality"]["expected"] == "'visible' or 'infrared'"
    assert by_field["modality"]["came"] == "'ir'"
    assert by_field["top_k"]["expected"] == "a whole number from 1 to 1000"
    assert "top_k" in by_field["topk"]["expected"]
    assert "file" in by_field["topk"]["expected"]
    for error in problem["errors"]:
        assert error["expected"] in problem["detail"]


def test_an_embedding_has_length_one(shared_http: httpx.Client) -> None:
    response = shared_http.post("/embed", files={"file": crop(5)}, data={"modality": "infrared"})
    assert response.status_code == 200
    body = response.json()
    assert set(body) == {"model_id", "embedding", "dimension"}
    assert body["model_id"] == MODEL_ID
    assert body["dimension"] == len(body["embedding"]) == 3072
    assert np.allclose(body["embedding"], direction(5), atol=1e-5)


@pytest.mark.parametrize("modality", [["visible"], ["visible", "infrared"]])
def test_the_parts_of_a_comparison_sum_to_the_cosine(
    shared_http: httpx.Client, modality: list[str]
) -> None:
    response = shared_http.post(
        "/compare", files=[("file", crop(1)), ("file", crop(2))], data={"modality": modality}
    )
    assert response.status_code == 200
    body = response.json()
    assert set(body) == COMPARE_FIELDS
    assert (body["probability"], body["threshold"], body["accepted"]) == (None, None, None)
    assert body["similarity"] == pytest.approx(direction(1) @ direction(2), abs=1e-5)
    names = [part["pattern"] for part in body["patterns"]]
    assert names == ["pattern_1", "pattern_2", "pattern_3", "pattern_4", "pattern_5", "global"]
    parts = (direction(1) * direction(2)).reshape(6, 512).sum(axis=1)
    assert np.allclose([part["similarity"] for part in body["patterns"]], parts, atol=1e-5)


def test_a_projected_model_compares_as_a_whole_and_serves_every_other_call(
    settings: ServiceSettings,
) -> None:
    one, other = direction(1)[:100], direction(2)[:100]
    cosine = one @ other / np.linalg.norm(one) / np.linalg.norm(other)
    with (
        closing(Gallery.open(settings.data, model_id=MODEL_ID, embedding_dim=100)) as gallery,
        running(create_app(settings, ProjectedEncoder(), gallery)) as transport,
        httpx.Client(transport=transport, base_url="http://localhost") as http,
    ):
        response = http.post(
            "/compare",
            files=[("file", crop(1)), ("file", crop(2))],
            data={"modality": "visible"},
        )
        enrol(http, 1, entry_id="a")
        enrol(http, 2, entry_id="b")
        matches = query(http, 1)["matches"]
        [model] = http.get("/models").json()["models"]
    assert response.status_code == 200
    assert response.json()["patterns"] is None
    assert response.json()["similarity"] == pytest.approx(cosine, abs=1e-5)
    assert [match["entry_id"] for match in matches] == ["a", "b"]
    assert matches[1]["similarity"] == pytest.approx(cosine, abs=1e-3)
    assert model["embedding_dim"] == 100


@pytest.mark.parametrize(
    ("files", "modality", "field"),
    [
        (1, ["visible"], "file"),
        (3, ["visible"], "file"),
        (2, [], "modality"),
        (2, ["visible"] * 3, "modality"),
        (2, ["visible", "x"], "modality.1"),
    ],
)
def test_a_comparison_needs_two_crops_and_their_modality(
    shared_http: httpx.Client, files: int, modality: list[str], field: str
) -> None:
    response = shared_http.post(
        "/compare", files=[("file", crop(1))] * files, data={"modality": modality}
    )
    assert fields_of(problem_of(response, 422, "invalid_fields")) == {field}


def test_more_crops_than_allowed_are_refused(shared_http: httpx.Client) -> None:
    response = shared_http.post(
        "/query", files=[("file", crop(1))] * 9, data={"modality": "visible"}
    )
    problem = problem_of(response, 422, "invalid_fields")
    assert problem["errors"][0]["expected"] == "1 to 8 image file(s)"


def test_one_bad_crop_among_several_refuses_the_query(shared_http: httpx.Client) -> None:
    response = shared_http.post(
        "/query",
        files=[("file", crop(1)), ("file", b"text")],
        data={"modality": "visible"},
    )
    problem_of(response, 415, "unsupported_image")
