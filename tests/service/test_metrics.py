"""`/metrics`: valid for Prometheus, and right."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gallery_index.gallery import Gallery
from service.app import create_app
from service.exposition import Family, Histogram, Sample, exposition
from tests.service.asgi import running
from tests.service.claims import problem_of
from tests.service.conftest import open_gallery, small_settings
from tests.service.fakes import TinyEncoder, crop
from tests.service.prometheus_text import ReadFamily, read_exposition
from tests.service.test_gallery_routes import enrol
from tests.service.test_search_routes import query


def scraped(http: httpx.Client) -> dict[str, ReadFamily]:
    response = http.get("/metrics")
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    return read_exposition(response.text)


def test_what_the_gallery_holds(http: httpx.Client) -> None:
    for seed, person in enumerate(["p", "p", "q"]):
        enrol(http, seed, entry_id=f"e{seed}", person_id=person)
    http.delete("/gallery/e0")
    families = scraped(http)
    assert families["mpanet_gallery_entries"].value() == 2
    assert families["mpanet_gallery_persons"].value() == 2
    assert families["mpanet_gallery_rows"].value() == 3
    assert families["mpanet_gallery_damaged_rows"].value() == 0
    assert families["mpanet_store_ready"].value() == 1
    assert families["mpanet_store_info"].value(kind="sqlite", durability="power-loss") == 1
    assert families["mpanet_model_info"].value(model_id="tiny-model") == 1


def test_what_searches_are_worth(
    http: httpx.Client, gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    stats = replace(
        gallery.stats(),
        ready=False,
        index_kind='a "new"\n\\kind',
        recall_at_10=0.9921875,
        recall_target=0.95,
        recall_measured_at=datetime(2026, 1, 1, tzinfo=UTC),
        index_bytes=128_000_000,
        dead_positions=7,
        snapshot_age_s=12.5,
        rows_since_snapshot=40,
        candidates_per_query=61.25,
    )
    monkeypatch.setattr(gallery, "stats", lambda: stats)
    families = scraped(http)
    assert families["mpanet_store_ready"].value() == 0
    assert families["mpanet_index_info"].value(kind='a "new"\n\\kind') == 1
    for name, value in {
        "index_recall_at_10": 0.9921875,
        "index_recall_target": 0.95,
        "index_recall_measured_timestamp_seconds": 1767225600,
        "index_bytes": 128_000_000,
        "index_dead_positions": 7,
        "index_candidates_per_query": 61.25,
        "snapshot_age_seconds": 12.5,
        "snapshot_rows_since": 40,
    }.items():
        assert families[f"mpanet_{name}"].type == "gauge"
        assert families[f"mpanet_{name}"].value() == value


def test_what_is_not_known_is_not_said(shared_http: httpx.Client) -> None:
    families = scraped(shared_http)
    assert "mpanet_index_recall_at_10" not in families
    assert "mpanet_index_recall_measured_timestamp_seconds" not in families


def test_queries_and_enrolments_are_counted(http: httpx.Client) -> None:
    enrol(http, 1, entry_id="a")
    enrol(http, 1, entry_id="a")
    problem_of(
        http.post("/gallery", files={"file": b"x"}, data={"modality": "visible"}),
        415,
        "unsupported_image",
    )
    query(http, 1)
    answer = query(http, 1, rerank="true")
    families = scraped(http)
    assert families["mpanet_queries_total"].type == "counter"
    assert families["mpanet_queries_total"].value() == 2
    enrolments = families["mpanet_enrolments_total"]
    outcomes = {name: enrolments.value(outcome=name) for name in ("stored", "replayed", "refused")}
    assert outcomes == {"stored": 1, "replayed": 1, "refused": 1}
    stages = families["mpanet_query_stage_seconds"]
    counts = {
        stage: stages.value("_count", stage=stage)
        for stage in ("decode", "queue", "embed", "search", "rerank")
    }
    assert counts == {"decode": 2, "queue": 2, "embed": 2, "search": 2, "rerank": 1}
    rerank_ms = answer["timings_ms"]["rerank"]
    assert rerank_ms > 0
    assert stages.value("_sum", stage="rerank") == pytest.approx(rerank_ms / 1000)


def test_two_services_count_apart(tmp_path: Path) -> None:
    settings = small_settings(tmp_path)
    with open_gallery(settings) as gallery:
        for _ in range(2):
            with (
                running(create_app(settings, TinyEncoder(), gallery)) as transport,
                httpx.Client(transport=transport, base_url="http://localhost") as http,
            ):
                http.post("/query", files={"file": crop(1)}, data={"modality": "visible"})
                assert scraped(http)["mpanet_queries_total"].value() == 1


@settings(deadline=None)
@given(st.lists(st.floats(0, 20)), st.sets(st.floats(0.001, 10), min_size=1))
def test_a_bucket_counts_what_is_at_most_its_bound(
    observations: list[float], bounds: set[float]
) -> None:
    histogram = Histogram(sorted(bounds))
    for value in observations:
        histogram.observe(value)
    family = Family("seconds", "histogram", "Time.", histogram.samples({}))
    read = read_exposition(exposition([family]))["seconds"]
    for bound in bounds:
        counted = read.value("_bucket", le=repr(bound) if bound % 1 else str(int(bound)))
        assert counted == sum(value <= bound for value in observations)
    assert read.value("_count") == len(observations)
    assert read.value("_sum") == pytest.approx(sum(observations))


@settings(deadline=None)
@given(st.text(), st.floats(allow_nan=False, allow_infinity=False))
def test_any_label_and_number_come_back_as_they_were(label: str, value: float) -> None:
    text = exposition([Family("some_name", "gauge", "Some.", [Sample(value, {"label": label})])])
    assert read_exposition(text)["some_name"].value(label=label) == value


def test_help_stays_on_its_line() -> None:
    text = exposition([Family("some_name", "gauge", "a\nb \\ c", [Sample(1)])])
    assert text == "# HELP some_name a\\nb \\\\ c\n# TYPE some_name gauge\nsome_name 1\n"
