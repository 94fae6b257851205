"""`mpanet train`, `export` and `evaluate` one after the other, on a handful of rendered people."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mpanet.cli import main
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
half_size_epochs = 1
"""


def test_a_rendered_dataset_becomes_an_artifact_with_figures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, run, model = tmp_path / "people", tmp_path / "run", tmp_path / "model"
    synthesize(
        data, layout="sysu-mm01", persons=8, seed=1, images_per_camera=1, test_persons=3, workers=1
    )
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(RECIPE)
    common = ["--dataset", "sysu-mm01", "--data", str(data)]
    assert main(["train", *common, "--recipe", str(recipe), "--out", str(run)]) == 0
    assert main(["export", "--weights", str(run / "last.ckpt"), "--out", str(model)]) == 0
    manifest = json.loads((model / "manifest.json").read_text())
    assert manifest["source"]["recipe"] == "tiny"
    report = tmp_path / "figures.json"
    evaluate = ["evaluate", "--model", str(model), *common, "--provider", "cpu", "--baselines"]
    assert main([*evaluate, "--search", "indoor", "--trials", "2", "--json", str(report)]) == 0
    printed = capsys.readouterr().out
    assert "SYSU-MM01 indoor search, 1-shot, plain\n" in printed
    assert "6 queries; gallery by seeded choice" in printed
    results = json.loads(report.read_text())["results"]
    assert [row["method"] for row in results] == [
        "model",
        "chance",
        "raw pixels",
        "grey histograms",
    ]
    for row in results:
        assert 0 <= row["rank1"] <= row["rank5"] == 100  # three persons: found by rank 3
        assert len(row["trials"]) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "{tmp}/absent", "--recipe", "demo"], "absent: no such dataset folder"),
        (["--data", "{tmp}", "--recipe", "dmeo"], "no recipe 'dmeo'"),
        (["--data", "{tmp}", "--recipe", "demo"], "6 of 6 camera folders are missing"),
    ],
)
def test_unusable_input_is_one_line_and_exit_code_2(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    filled = [argument.format(tmp=tmp_path) for argument in arguments]
    code = main(["train", "--dataset", "sysu-mm01", *filled, "--out", str(tmp_path / "run")])
    error = capsys.readouterr().err
    assert code == 2
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_evaluating_without_a_model_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--model", str(tmp_path / "absent"), "--dataset", "regdb", "--data", str(tmp_path)]
    assert main(["evaluate", *arguments]) == 2
    assert str(tmp_path / "absent") in capsys.readouterr().err


def test_evaluation_imports_no_torch() -> None:
    code = (
        "import sys; sys.modules['torch'] = sys.modules['lightning'] = sys.modules['scipy'] = None;"
        "import training.evaluation, training.artifact_embedding, training.datasets.readers,"
        " training.assessment, training.comparison, training.report.build, training.report.gather,"
        " training.recipe, mpanet.commands.evaluate, mpanet.commands.train"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("left", "said"),
    [
        ([], "interrupted; the run had not begun, and nothing was written"),
        (["run.json"], "holds no whole epoch yet, --resume goes on from there"),
        (["run.json", "last.ckpt"], "holds the last whole epoch, --resume goes on from there"),
    ],
)
def test_an_interrupted_training_says_whether_there_is_something_to_resume(
    left: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "manifest.csv").write_text(
        "path,person_id,camera_id,modality,split\na.png,1,1,visible,train\n"
    )
    out = tmp_path / "run"
    out.mkdir()

    def stopped(*_: object, **__: object) -> None:
        for name in left:
            (out / name).touch()
        raise KeyboardInterrupt

    monkeypatch.setattr("training.run.train", stopped)
    dataset = ["--dataset", "manifest", "--data", str(tmp_path)]
    assert main(["train", *dataset, "--recipe", "demo", "--out", str(out)]) == 130
    assert capsys.readouterr().err.endswith(f"{said}\n")
    monkeypatch.setenv("LOCAL_RANK", "1")  # another of its processes
    assert main(["train", *dataset, "--recipe", "demo", "--out", str(out)]) == 130
    assert capsys.readouterr().err == ""
