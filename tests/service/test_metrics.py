"""`/metrics`: valid for Prometheus, and right."""

import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gallery_index.errors import StoreUnavailableError
from gallery_index.gallery import Gallery
from gallery_index.records import GalleryStats
from service.app import create_app
from service.observing.exposition import Family, Histogram, Sample, exposition
from service.observing.metrics import Metrics
from service.observing.process_metrics import process_families
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


def test_a_request_is_counted_by_call_method_and_status(http: httpx.Client) -> None:
    enrol(http, 1, entry_id="a")
    http.get("/gallery/a")
    http.get("/gallery/b")
    http.get("/gallery/c")
    http.post("/nowhere")
    families = scraped(http)
    requests = families["mpanet_request_seconds"]

    def count(route: str, method: str, status: str) -> float:
        return requests.value("_count", route=route, method=method, status=status)

    assert count("/gallery", "POST", "201") == 1
    assert count("/gallery/{entry_id}", "GET", "200") == 1
    assert count("/gallery/{entry_id}", "GET", "404") == 2
    assert count("other", "POST", "404") == 1
    problems = families["mpanet_problems_total"]
    assert problems.value(code="entry_not_found") == 2
    assert problems.value(code="not_found") == 1
    assert problems.value(code="queue_full") == 0


def test_labels_do_not_grow_with_what_clients_send(http: httpx.Client) -> None:
    def series() -> int:
        return sum(len(family.samples) for family in scraped(http).values())

    def ask(n: int) -> None:
        http.get(f"/gallery/{n}")
        http.get(f"/nowhere/{n}")
        http.request(f"METHOD{n}", "/gallery")

    ask(1)
    series()  # scrapes are requests too
    before = series()
    for n in range(2, 20):
        ask(n)
    assert series() == before


def test_a_refused_crop_is_counted_by_its_code(http: httpx.Client) -> None:
    entries = '[{"modality": "visible"}, {"modality": "visible"}, {"modality": "x"}]'
    files = [("files", crop(1)), ("files", b"no image"), ("files", crop(2))]
    assert http.post("/gallery/batch", files=files, data={"entries": entries}).status_code == 200
    families = scraped(http)
    refused = families["mpanet_crops_refused_total"]
    assert refused.value(code="unsupported_image") == 1
    assert refused.value(code="invalid_fields") == 1
    assert families["mpanet_enrolments_total"].value(outcome="refused") == 2


def test_what_an_enrolment_spent_is_counted_by_stage(http: httpx.Client) -> None:
    enrol(http, 1)
    enrol(http, 2)
    stages = scraped(http)["mpanet_stage_seconds"]
    for stage in ("read", "decode", "queue", "embed", "store"):
        assert stages.value("_count", route="/gallery", stage=stage) == 2


def test_batches_are_counted_by_size(http: httpx.Client, encoder: TinyEncoder) -> None:
    entries = "[" + ", ".join(['{"modality": "visible"}'] * 8) + "]"
    for first in range(0, 32, 8):  # three batches at least: fewer tell nothing of their cost
        files = [("files", crop(seed)) for seed in range(first, first + 8)]
        http.post("/gallery/batch", files=files, data={"entries": entries})
    families = scraped(http)
    batches = families["mpanet_batch_crops"]
    assert batches.value("_sum") == 32
    assert batches.value("_count") == len(encoder.batch_sizes)
    singles = sum(size == 1 for size in encoder.batch_sizes)
    assert batches.value("_bucket", le="1") == singles
    assert families["mpanet_encoder_busy_seconds_total"].value() > 0
    assert families["mpanet_crop_seconds"].value() > 0
    assert families["mpanet_queue_crops"].value(kind="query") == 0


def test_counts_of_many_threads_add_up() -> None:
    metrics = Metrics()

    def observe() -> None:
        for _ in range(2000):
            metrics.batch_encoded(3, 0.5)
            metrics.encoder_failed()
            metrics.crops_dropped(2, "deadline")
            metrics.crops_dropped(1, "a reason that is not known")

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(observe) for _ in range(4)]:
            done.result()
    read = read_exposition(exposition(metrics.families()))
    assert read["mpanet_batch_crops"].value("_sum") == 24_000
    assert read["mpanet_batch_crops"].value("_bucket", le="2") == 0
    assert read["mpanet_batch_crops"].value("_bucket", le="4") == 8000
    assert read["mpanet_encoder_busy_seconds_total"].value() == 4000
    assert read["mpanet_encoder_failures_total"].value() == 8000
    assert read["mpanet_crops_dropped_total"].value(reason="deadline") == 16_000
    assert read["mpanet_crops_dropped_total"].value(reason="other") == 8000
    assert read["mpanet_crops_dropped_total"].value(reason="shutdown") == 0


def test_metrics_outlive_a_gallery_that_breaks(
    http: httpx.Client, gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away() -> GalleryStats:
        raise StoreUnavailableError("gone")

    monkeypatch.setattr(gallery, "stats", away)
    families = scraped(http)
    assert families["mpanet_store_ready"].value() == 0
    assert "mpanet_gallery_entries" not in families
    assert "mpanet_queries_total" in families


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux' /proc")
def test_what_the_process_holds() -> None:
    with tempfile.TemporaryFile() as one, tempfile.TemporaryFile() as two:
        read = read_exposition(exposition(process_families()))
        opened = read["process_open_fds"].value()
        one.close()
        two.close()
        fewer = read_exposition(exposition(process_families()))["process_open_fds"].value()
    assert opened - fewer == 2
    status = dict(
        line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines()
    )
    assert read["process_threads"].value() == int(status["Threads"])
    resident = int(status["VmRSS"].split()[0]) * 1024
    assert read["process_resident_memory_bytes"].value() == pytest.approx(resident, rel=0.2)
    spent = time.process_time()
    assert read["process_cpu_seconds_total"].value() == pytest.approx(spent, abs=2)
    started = read["process_start_time_seconds"].value()
    assert time.time() - 3600 * 24 < started < time.time()
    assert len(read["mpanet_build_info"].samples) == 1


def test_a_system_without_proc_tells_only_the_software(tmp_path: Path) -> None:
    assert set(read_exposition(exposition(process_families(tmp_path)))) == {"mpanet_build_info"}


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
