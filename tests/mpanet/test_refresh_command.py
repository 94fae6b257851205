"""`mpanet refresh` and the calls behind it, against a real service with real models."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from model.artifact import ModelArtifact
from tests.mpanet.serving import Service, run_mpanet, service
from tests.service.claims import problem_of
from tests.service.fakes import crop
from tests.service.refresh.bad_artifacts import write_model
from tests.service.tiny_artifact import write_tiny_artifact

VISIBLE = {"modality": "visible"}
ENTRIES = 40


class Refreshing:
    """A service with entries, the model that it began with, and another one in a directory."""

    def __init__(self, running: Service, first: ModelArtifact, other: ModelArtifact) -> None:
        self.running, self.first, self.other = running, first, other
        self.http = httpx.Client(base_url=running.url, timeout=60)

    def enrol(self, *seeds: int) -> None:
        for seed in seeds:
            sent = {**VISIBLE, "entry_id": f"e{seed}", "person_id": f"p{seed}"}
            assert self.http.post("/gallery", files={"file": crop(seed)}, data=sent).is_success

    def answer(self, seed: int) -> tuple[Any, ...]:
        """Return which model finds which entry for a crop, and how alike they are."""
        body = self.http.post("/query", files={"file": crop(seed)}, data=VISIBLE).json()
        best = body["matches"][0]
        return body["model_id"], best["entry_id"], best["similarity"]

    def mpanet(self, *arguments: str) -> tuple[int, str, str]:
        done = run_mpanet("refresh", "--url", self.running.url, *arguments)
        return done.code, done.out, done.err

    def job(self) -> dict[str, Any]:
        """Return the newest job."""
        newest: dict[str, Any] = self.http.get("/jobs").json()["jobs"][0]
        return newest


@pytest.fixture
def refreshing(tmp_path: Path) -> Iterator[Refreshing]:
    first = write_tiny_artifact(tmp_path / "first")
    other = write_model(tmp_path / "other", little=0.5)
    with service(first.directory, tmp_path / "data") as running:
        refreshing = Refreshing(running, first, other)
        refreshing.enrol(*range(ENTRIES))
        yield refreshing
        refreshing.http.close()


def test_a_model_is_published_and_activated_and_gone_back_from(refreshing: Refreshing) -> None:
    first, other = refreshing.first.model_id, refreshing.other.model_id
    code, out, err = refreshing.mpanet("--model", str(refreshing.other.directory))
    assert (code, out) == (
        0, f"{other} is active; {ENTRIES} entries have its embeddings\n"
    ), err  # fmt: skip
    assert f"published as {other}" in err
    for seed in (0, ENTRIES - 1):
        assert refreshing.answer(seed) == (other, f"e{seed}", pytest.approx(1, abs=1e-3))
    models = refreshing.http.get("/models").json()
    assert (models["active"], models["kept"], models["refreshing"]) == (other, first, None)
    states = {model["model_id"]: model["state"] for model in models["models"]}
    assert states == {other: "active", first: "kept"}
    refreshing.enrol(100)
    code, out, _ = refreshing.mpanet("--rollback")
    assert (code, out) == (0, f"{first} answers again\n")
    assert refreshing.answer(100) == (first, "e100", pytest.approx(1, abs=1e-3))
    code, out, _ = refreshing.mpanet("--reclaim", "--json")
    assert (code, json.loads(out)["model_id"]) == (0, other)
    code, _, err = refreshing.mpanet("--rollback")
    assert (code, "no_earlier_model" in err) == (2, True)
    code, out, _ = refreshing.mpanet("--model-id", first)
    assert (code, out) == (0, f"{first} is active already\n")


def test_a_job_is_read_watched_and_remembered(refreshing: Refreshing) -> None:
    http, other = refreshing.http, refreshing.other
    with (
        (other.directory / "manifest.json").open("rb") as manifest,
        (other.directory / "model.onnx").open("rb") as model,
    ):
        assert http.post("/models", files={"manifest": manifest, "model": model}).is_success
    asked = http.post(f"/models/{other.model_id}/activate")
    assert asked.status_code == 202
    job_id = asked.json()["job_id"]
    assert asked.headers["Location"] == f"/jobs/{job_id}"
    events: list[tuple[str, dict[str, Any]]] = []
    with http.stream("GET", f"/jobs/{job_id}/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        name = ""
        for line in stream.iter_lines():
            key, _, value = line.partition(": ")
            if key == "event":
                name = value
            elif key == "data":
                events.append((name, json.loads(value)))
    assert [name for name, _ in events[:-1]] == ["progress"] * (len(events) - 1)
    name, last = events[-1]
    assert (name, last["status"], last["done"], last["total"]) == ("end", "done", ENTRIES, ENTRIES)
    done = [body["done"] for _, body in events]
    assert done == sorted(done)
    assert http.get(f"/jobs/{job_id}").json() == last
    asked_by_accept = http.get(f"/jobs/{job_id}", headers={"Accept": "text/event-stream"})
    assert asked_by_accept.text.startswith("event: end\ndata: {")
    assert http.get("/jobs").json()["jobs"] == [last]
    assert http.delete(f"/jobs/{job_id}").json() == last, "what has ended stays as it is"


def test_an_activated_model_answers_after_a_restart_whatever_is_named(
    refreshing: Refreshing, tmp_path: Path
) -> None:
    refreshing.mpanet("--model", str(refreshing.other.directory))
    refreshing.running.process.kill()
    refreshing.running.process.wait()
    with service(refreshing.first.directory, tmp_path / "data") as again:
        after = Refreshing(again, refreshing.first, refreshing.other)
        assert after.answer(3) == (refreshing.other.model_id, "e3", pytest.approx(1, abs=1e-3))
        code, out, _ = after.mpanet("--rollback")
        assert (code, out) == (0, f"{refreshing.first.model_id} answers again\n")
        assert after.answer(3) == (refreshing.first.model_id, "e3", pytest.approx(1, abs=1e-3))
        after.http.close()


def test_a_second_refresh_needs_the_kept_vectors_given_up(
    refreshing: Refreshing, tmp_path: Path
) -> None:
    third = write_model(tmp_path / "third", little=0.7)
    refreshing.mpanet("--model", str(refreshing.other.directory))
    code, _, err = refreshing.mpanet("--model", str(third.directory))
    assert (code, "generation_kept" in err) == (2, True)
    code, _, err = refreshing.mpanet("--model-id", third.model_id, "--reclaim-kept")
    assert code == 0, err
    assert refreshing.answer(3)[0] == third.model_id


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 422, "malformed_body"),
        (b"[]", 422, "invalid_fields"),
        (b'{"override": ["gravity"]}', 422, "invalid_fields"),
        (b'{"entries_without_crop": "burn"}', 422, "invalid_fields"),
        (b'{"reclaim_kept": "yes"}', 422, "invalid_fields"),
        (b'{"whatever": 1}', 422, "invalid_fields"),
    ],
)
def test_a_wrong_body_is_refused_and_nothing_begins(
    refreshing: Refreshing, body: bytes, status: int, code: str
) -> None:
    path = f"/models/{refreshing.first.model_id}/activate"
    headers = {"Content-Type": "application/json"}
    problem_of(refreshing.http.post(path, content=body, headers=headers), status, code)
    assert refreshing.http.get("/jobs").json() == {"jobs": []}


@pytest.mark.parametrize("model_id", ["none", "%2e%2e", "%00", "a" * 5000])
def test_an_unknown_model_is_404_whatever_its_name(refreshing: Refreshing, model_id: str) -> None:
    for path in (f"/models/{model_id}/activate", f"/models/{model_id}/calibrate"):
        problem_of(refreshing.http.post(path), 404, "model_not_found")


def test_nothing_under_way_is_nothing_to_resume(refreshing: Refreshing) -> None:
    code, _, err = refreshing.mpanet("--resume")
    assert (code, err) == (2, "mpanet refresh: error: --resume: no job is under way\n")
    code, _, err = refreshing.mpanet("--model", "nowhere")
    assert code == 2
    assert "nowhere" in err
