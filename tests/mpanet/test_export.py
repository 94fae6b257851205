"""`mpanet export --metrics`: figures travel from an evaluation into the manifest."""

import json
from pathlib import Path

import pytest

from mpanet.commands.export import read_metrics
from mpanet.errors import CommandError
from training.evaluation import EvaluationRow
from training.metrics import Figures

FIGURES = Figures(rank1=70.0, rank5=90.0, rank10=95.0, rank20=99.0, mAP=65.5, mINP=50.0)


def report(tmp_path: Path) -> Path:
    rows = [
        EvaluationRow(
            method, "SYSU-MM01 all search", "seeded choice", "cosine", "plain", 800, (FIGURES,)
        )
        for method in ("model", "chance")
    ]
    path = tmp_path / "report.json"
    path.write_text(
        json.dumps({"dataset": "sysu-mm01", "results": [row.as_json() for row in rows]})
    )
    return path


def test_figures_of_the_model_are_read_and_those_of_baselines_left_out(tmp_path: Path) -> None:
    assert read_metrics(report(tmp_path)) == {
        "sysu-mm01: SYSU-MM01 all search; seeded choice": {
            "rank1": 70.0,
            "rank5": 90.0,
            "rank10": 95.0,
            "rank20": 99.0,
            "mAP": 65.5,
        }
    }


@pytest.mark.parametrize("text", ["", "[]", '{"dataset": "x"}', '{"dataset": "x", "results": [1]}'])
def test_another_file_is_refused_by_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(CommandError, match=r"other\.json: expected what `mpanet evaluate --json`"):
        read_metrics(path)
