"""The gallery benchmark measures against the exact answer; its speeds are nobody's test."""

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks import gallery
from benchmarks.gallery_people import Embedded
from benchmarks.gallery_plot import Panel, plot
from benchmarks.gallery_slices import Columns, Slice, Tops, Wanted, exact_tops

DIM = 48


def unit(rng: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    values = rng.standard_normal(shape).astype(np.float32)
    values /= np.linalg.norm(values, axis=-1, keepdims=True)
    return values


def columns(rng: np.random.Generator, first_person: int, count: int) -> Columns:
    sites = rng.integers(40, size=count)
    return Columns(
        person=first_person + np.arange(count) % 5,
        camera=rng.integers(1, 7, size=count),
        infrared=rng.integers(2, size=count) == 1,
        site=sites,
        zone=sites // 10,
    )


def test_exact_answers_of_blocks_are_those_of_all_rows() -> None:
    rng = np.random.default_rng(0)
    blocks = [(unit(rng, 60, DIM).astype(np.float16), columns(rng, 5 * n, 60)) for n in range(3)]
    wanted = [None, Wanted("infrared", 0), Wanted("camera", 2, excluded=True), Wanted("site", 7)]
    asked = Slice("any", unit(rng, 4, DIM), list(wanted))
    parts = [exact_tops(asked, 60 * n, *block) for n, block in enumerate(blocks)]
    tops = parts[0].merged(parts[1]).merged(parts[2])

    everything = np.concatenate([vectors for vectors, _ in blocks]).astype(np.float32)
    known = Columns.joined([each for _, each in blocks])
    matching = [
        np.ones(180, bool),
        ~known.infrared,
        known.camera != 2,
        known.site == 7,
    ]
    for query, matches in enumerate(matching):
        found = np.where(matches, everything @ asked.vectors[query], -np.inf)
        expected = [row for row in np.argsort(-found).tolist() if matches[row]][:10]
        assert tops.rows[query, : len(expected)].tolist() == expected


def test_exact_answer_by_person_has_the_best_row_of_each() -> None:
    rng = np.random.default_rng(1)
    vectors, known = unit(rng, 60, DIM).astype(np.float16), columns(rng, 0, 60)
    asked = Slice("persons", unit(rng, 1, DIM), [None], "person")
    rows = exact_tops(asked, 0, vectors, known).rows[0]
    found = vectors.astype(np.float32) @ asked.vectors[0]
    best = [max(range(person, 60, 5), key=lambda row: found[row]) for person in range(5)]
    assert rows[:5].tolist() == sorted(best, key=lambda row: -found[row])
    assert set(rows[5:].tolist()) == {-1}


def test_recall_counts_rows_as_similar_as_the_tenth() -> None:
    similarities = np.array([[0.9, *[0.8] * 10, *[0.1] * 5]], np.float32)
    tops = Tops(np.arange(16)[None], similarities)
    assert tops.recall([[0, 2, 3, 4, 5, 6, 7, 8, 9, 10]]) == 1.0
    assert tops.recall([[0, 2, 3, 4, 5, 6, 7, 8, 11, 12]]) == 0.8
    assert tops.recall([[]]) == 0.0


def test_recall_asks_for_no_more_rows_than_match() -> None:
    rows = np.full((2, 16), -1)
    rows[0, :4] = [3, 1, 4, 5]
    tops = Tops(rows, np.where(rows >= 0, 0.5, -np.inf).astype(np.float32))
    assert tops.recall([[1, 3, 4], []]) == 0.75


def test_plot_has_a_line_and_a_point_for_each_figure() -> None:
    drawn = plot([10, 100, 1000], [Panel("Latency", "ms", {"p50": [2, 3, 40], "p99": [4, 9, 90]})])
    assert drawn.count("<polyline") == 2
    assert drawn.count("<circle") == 6
    assert ">1,000</text>" in drawn


@pytest.fixture
def embeddings(tmp_path: Path) -> Path:
    """40 people, four crops by each of six cameras, two of them infrared, and a tracklet."""
    rng = np.random.default_rng(2)
    people = np.arange(40).repeat(28)
    cameras = np.tile(np.array([*np.arange(1, 7).repeat(4), 1, 1, 6, 6]), 40)
    tracklets = np.where(np.tile(np.arange(28) < 24, 40), -1, 2 * people + (cameras == 6))
    values = unit(rng, 40, DIM)[people] + 0.5 * unit(rng, 7, DIM)[cameras]
    values += 0.5 * unit(rng, len(people), DIM)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    path = tmp_path / "embeddings.npz"
    Embedded(values, people, cameras, np.isin(cameras, [3, 6]), tracklets).save(path)
    return path


def test_a_run_reports_every_slice_and_peer(
    embeddings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gallery, "KILLED_AFTER", 1000)
    monkeypatch.setattr(gallery, "LANCEDB_ROWS", 0)
    out, figure = tmp_path / "gallery.json", tmp_path / "gallery.svg"
    command = ["--embeddings", str(embeddings), "--work", str(tmp_path / "work"), "--gpu"]
    command += ["--sizes", "1000", "--queries", "6", "--peer-queries", "2"]
    assert gallery.main([*command, "--out", str(out), "--plot", str(figure)]) == 0
    (size,) = json.loads(out.read_text())["sizes"]
    slices, peers = size["queries"]["slices"], size["peers"]
    # So few entries are searched exactly.
    assert [each["recall"] for each in slices] == [1.0] * 7
    assert [len(each["warm_ms"]) for each in slices] == [6] * 7
    assert [each["recall"] for each in peers["FAISS flat, fp16"]["slices"]] == [1.0] * 6
    assert "skipped" in peers["LanceDB, flat"]
    assert size["starts"]["killed"]["entries"] == 2000
    assert "1,000" in figure.read_text()
    assert not list((tmp_path / "work").glob("gallery-*"))
