"""The benchmark compares like with like: both contenders give the same figures."""

import json
from pathlib import Path

from benchmarks.protocols import main


def test_both_contenders_give_the_same_figures(tmp_path: Path) -> None:
    out = tmp_path / "protocols.json"
    options = ["--queries", "40", "--dims", "24", "--rounds", "1", "--json", str(out)]
    assert main(options) == 0
    result = json.loads(out.read_text())
    assert result["machine"]["processor"]
    names = [row["what"] for row in result["rows"]]
    assert len(names) == 4
    assert names[1] == "SYSU-MM01 all search, 10-shot, 10 trials"
    for row in result["rows"]:
        assert row["largest_difference"] < 1e-3
        assert row["ours_s"] > 0
        assert row["peak_bytes"] > 0
