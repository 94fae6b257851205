"""The refresh benchmark's own parts: the twin of a model, figures from answers, the table."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.refresh import latencies, table, twin
from model.encoder import Encoder
from tests.service.tiny_artifact import write_tiny_artifact


def test_a_twin_embeds_alike_under_another_id(tmp_path: Path) -> None:
    first = write_tiny_artifact(tmp_path / "first")
    other = twin(first.directory, tmp_path / "twin")
    assert other.model_id != first.model_id
    images = np.random.default_rng(0).standard_normal((3, 3, 32, 32)).astype(np.float32)
    with Encoder.open(first, provider="cpu") as one, Encoder.open(other, provider="cpu") as two:
        assert np.array_equal(one.encode(images).embedding, two.encode(images).embedding)


def test_latencies_are_of_answers_and_the_rest_has_failed() -> None:
    answers = [(0.0, 0.010, 200), (0.1, 0.030, 200), (0.2, 0.020, 200), (0.3, 0.001, 503)]
    one = {"answers": answers[:3], "unanswered": 2, "unsent": 0}
    other = {"answers": answers[3:], "unanswered": 0, "unsent": 1}
    assert latencies([one, other]) == {
        "answers": 3,
        "p50_ms": pytest.approx(20),
        "p99_ms": pytest.approx(30),
        "longest_ms": pytest.approx(30),
        "failed": 4,
    }


def test_the_table_has_both_ratios() -> None:
    queries = {"answers": 300, "p50_ms": 10.0, "p99_ms": 20.0, "longest_ms": 30.0, "failed": 0.0}
    result = {
        "processor": "a processor, 2 cores",
        "entries": 20_000,
        "rounds": [
            {
                "bare_per_s": 400.0,
                "queries_per_s": 8.0,
                "refresh_per_s": 320.0,
                "of_bare": 0.8,
                "of_bare_with_queries": 0.82,
                "idle": queries,
                "refreshing": {**queries, "p99_ms": 35.0},
                "p99_ratio": 1.75,
                "took_s": {"publish": 0.7, "refresh": 70.0, "rollback": 0.009, "reclaim": 0.04},
                "memory_mb": {"before": 700.0, "after": 800.0, "reclaimed": 790.0},
            }
        ],
    }
    text = table(result)
    assert "20,000 entries" in text
    assert "| during the refresh | 300 | 10.0 | 35.0 | 30.0 | 0 |" in text
    assert "/ idle: 1.75" in text
    assert "320.0 entries/s, 0.80 of the bare" in text
    assert "rollback 9 ms" in text
