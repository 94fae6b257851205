"""Two processes on the processor train one network, as two GPUs would."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from model.network.checkpoint import load_network
from training.synthetic.write import synthesize

RECIPE = """
precision = "fp32"
[network]
backbone = "resnet18"
image_size = [64, 32]
num_patterns = 2
[batch]
persons = 2
images_per_person = 4
[optimizer]
learning_rate = 1e-3
[schedule]
epochs = 1
"""


@pytest.mark.timeout(600)
def test_two_processes_share_an_epoch_and_speak_with_one_voice(tmp_path: Path) -> None:
    synthesize(
        tmp_path / "people", layout="sysu-mm01", persons=10, seed=1, images_per_camera=2,
        test_persons=2, workers=1,
    )  # fmt: skip
    (tmp_path / "tiny.toml").write_text(RECIPE)

    def run(devices: int) -> tuple[list[str], list[str]]:
        out = tmp_path / f"run{devices}"
        command = [sys.executable, "-m", "mpanet", "train", "--dataset", "sysu-mm01"]
        command += ["--data", "people", "--recipe", "tiny.toml", "--out", str(out)]
        command += ["--devices", str(devices)]
        done = subprocess.run(
            command, cwd=tmp_path, env=os.environ | {"OMP_NUM_THREADS": "1"},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        row = (out / "metrics.csv").read_text().splitlines()[1].split(",")
        return done.stdout.splitlines(), row

    said, alone = run(1)
    said_together, together = run(2)
    assert len(said) == len(said_together) == 2
    assert int(together[1]) == -(-int(alone[1]) // 2)  # steps of the epoch
    record = json.loads((tmp_path / "run2" / "run.json").read_text())
    assert record["environment"]["devices"] == 2
    assert load_network(tmp_path / "run2" / "last.ckpt").kind == "lightning"
    assert not (tmp_path / "run2" / ".pixels").exists()
