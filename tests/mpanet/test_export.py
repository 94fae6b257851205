"""`mpanet export`: figures travel into the manifest, a projection fitted on data into the graph."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from model.encoder import Encoder
from model.preprocessing import read_image
from mpanet.cli import main
from mpanet.commands.export import read_metrics
from mpanet.errors import CommandError
from training.evaluation import EvaluationRow
from training.metrics import Figures
from training.projection import fit_pca

FIGURES = Figures(rank1=70.0, rank5=90.0, rank10=95.0, rank20=99.0, mAP=65.5, mINP=50.0)


def report(tmp_path: Path, model_id: str | None = "0" * 64) -> Path:
    """What `evaluate --json` writes of a model; without an id, what it wrote before it told one."""
    rows = [
        EvaluationRow(
            method, "SYSU-MM01 all search", "seeded choice", "cosine", "plain", 800, (FIGURES,)
        )
        for method in ("model", "chance")
    ]
    path = tmp_path / "report.json"
    written = {"dataset": "sysu-mm01", "results": [row.as_json() for row in rows]}
    path.write_text(json.dumps(written | ({} if model_id is None else {"model_id": model_id})))
    return path


def test_figures_of_the_model_are_read_and_those_of_baselines_left_out(tmp_path: Path) -> None:
    found = read_metrics(report(tmp_path))
    assert found.model_id == "0" * 64
    assert found.figures == {
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


def test_figures_that_name_no_model_are_one_line_before_the_weights_are_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = report(tmp_path, model_id=None)
    out = tmp_path / "model"
    arguments = ["--weights", "none.pt", "--out", str(out), "--metrics", str(old)]
    assert main(["export", *arguments]) == 2
    error = capsys.readouterr().err
    assert "report.json: names no model that its figures belong to" in error
    assert error.count("\n") == 1
    assert not out.exists()


TRAIN, HELD_OUT, TEST = 24, 4, 6  # images of each split


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a small network: 1,536 features."""
    import torch

    from model.config import MPANetConfig
    from model.network.checkpoint import save_network
    from model.network.mpanet import MPANet

    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("weights") / "best.pt"
    config = MPANetConfig(backbone="resnet18", image_size=(64, 32), num_patterns=2)
    save_network(path, MPANet(config))
    return path


@pytest.fixture(scope="module")
def cameras(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Own cameras: noisy crops of two persons in training, one held out, one in test."""
    root = tmp_path_factory.mktemp("cameras")
    rows = ["path,person_id,camera_id,modality,split"]
    rng = np.random.default_rng(0)
    persons = {"train": ("a", "b"), "val": ("c",), "test": ("d",)}
    for split, count in (("train", TRAIN), ("val", HELD_OUT), ("test", TEST)):
        for number in range(count):
            name = f"{split}-{number:02d}.png"
            blocks = rng.integers(0, 256, (8, 4, 3), dtype=np.uint8)
            Image.fromarray(blocks.repeat(8, axis=0).repeat(8, axis=1)).save(root / name)
            person = persons[split][number // 2 % len(persons[split])]
            modality, camera = (("visible", 1), ("infrared", 2))[number % 2]
            rows.append(f"{name},{person},{camera},{modality},{split}")
    (root / "manifest.csv").write_text("\n".join(rows) + "\n")
    return root


def projected(weights: Path, out: Path, cameras: Path, dim: int | str, *more: str) -> int:
    """Run the command with a projection fitted on own cameras, on the CPU at fp32."""
    fitted_on = ["--project-on", "manifest", "--project-data", str(cameras), "--provider", "cpu"]
    arguments = ["--weights", str(weights), "--out", str(out), "--project", str(dim), *fitted_on]
    try:
        return main(["export", *arguments, *more])
    except SystemExit as stop:  # argparse's own refusals
        return int(str(stop.code))


@pytest.fixture(scope="module")
def whole(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artifact without a projection."""
    out = tmp_path_factory.mktemp("whole") / "model"
    assert main(["export", "--weights", str(weights), "--out", str(out)]) == 0
    return out


def exported_with(weights: Path, out: Path, figures: Path) -> int:
    arguments = ["--weights", str(weights), "--out", str(out), "--metrics", str(figures)]
    return main(["export", *arguments])


def test_figures_of_this_very_model_go_into_its_manifest(
    weights: Path, whole: Path, tmp_path: Path
) -> None:
    model_id = json.loads((whole / "manifest.json").read_text())["model_id"]
    assert exported_with(weights, tmp_path / "again", report(tmp_path, model_id)) == 0
    manifest = json.loads((tmp_path / "again" / "manifest.json").read_text())
    assert manifest["model_id"] == model_id
    (figures,) = manifest["metrics"].values()
    assert (figures["rank1"], figures["mAP"]) == (70.0, 65.5)


def test_figures_of_another_model_are_one_line_and_nothing_is_written(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = "f" * 64
    assert exported_with(weights, tmp_path / "model", report(tmp_path, other)) == 2
    error = capsys.readouterr().err
    assert f"got those of model {other}" in error
    assert error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]


@pytest.fixture(scope="module")
def short(weights: Path, cameras: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artifact projected to 10 dimensions."""
    out = tmp_path_factory.mktemp("short") / "model"
    assert projected(weights, out, cameras, 10) == 0
    return out


def embedded(model: Path, cameras: Path, split: str) -> NDArray[np.float32]:
    """Embeddings of a split through an artifact, in the order of the files' names."""
    with Encoder.open(model, provider="cpu") as encoder:
        paths = sorted(cameras.glob(f"{split}-*.png"))
        images = [encoder.prepare(read_image(path.read_bytes())) for path in paths]
        return encoder.encode(np.stack(images)).embedding


def test_projected_artifact_is_the_whole_one_on_the_training_split_s_singular_vectors(
    whole: Path, short: Path, cameras: Path
) -> None:
    training = embedded(whole, cameras, "train").astype(np.float64)
    right = np.linalg.svd(training, full_matrices=False)[2]
    expected = embedded(whole, cameras, "test") @ right[:10].T
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    found = embedded(short, cameras, "test")
    assert found.shape == (TEST, 10)
    # The signs of singular vectors are free; the cosines between images are not.
    np.testing.assert_allclose(found @ found.T, expected @ expected.T, atol=1e-5)


def test_encoder_of_a_projected_artifact_gives_what_the_projection_gives(
    whole: Path, short: Path, cameras: Path
) -> None:
    fitted = fit_pca(embedded(whole, cameras, "train"), 10)
    expected = fitted.apply(embedded(whole, cameras, "test"))
    assert (embedded(short, cameras, "test") * expected).sum(axis=1).min() > 0.99999


def test_manifest_says_the_length_and_the_json_what_was_fitted(
    weights: Path,
    whole: Path,
    short: Path,
    cameras: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    values = np.linalg.svd(embedded(whole, cameras, "train"), compute_uv=False)
    half = ["--weights-precision", "fp16", "--json"]
    assert projected(weights, tmp_path / "half", cameras, 10, *half) == 0
    result = json.loads(capsys.readouterr().out)
    projection = result.pop("projection")
    assert projection.pop("kept") == pytest.approx(np.square(values[:10]).sum() / TRAIN, abs=1e-5)
    assert projection == {"features": 1536, "dataset": "manifest", "images": TRAIN}
    assert result["embedding_dim"] == 10
    for model in (short, tmp_path / "half"):
        config = json.loads((model / "manifest.json").read_text())["config"]
        assert (config["embedding_dim"], config["projected_dim"]) == (10, 10)
    sizes = [(model / "model.onnx").stat().st_size for model in (tmp_path / "half", short)]
    assert sizes[0] < 0.52 * sizes[1]  # the projection, too, is stored in fp16


def test_the_same_training_images_give_the_same_bytes_whatever_the_others(
    weights: Path, short: Path, cameras: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    others = shutil.copytree(cameras, tmp_path / "others")
    for path in [*others.glob("test-*.png"), *others.glob("val-*.png")]:
        Image.new("RGB", (32, 64), "red").save(path)
    assert projected(weights, tmp_path / "again", others, 10) == 0
    assert (tmp_path / "again" / "model.onnx").read_bytes() == (short / "model.onnx").read_bytes()
    report = capsys.readouterr().out
    assert f"{TRAIN} training images of manifest" in report


@pytest.mark.parametrize(
    ("dim", "complaint"),
    [
        (0, "at least 1 dimension, got 0"),
        (TRAIN + 1, f"at most {TRAIN} dimensions of 1,536 features and {TRAIN} training images"),
        (5000, "got 5,000"),
        ("many", "invalid int value"),
    ],
)
def test_a_dimension_that_cannot_be_is_one_line_and_nothing_is_written(
    weights: Path,
    cameras: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    dim: int | str,
    complaint: str,
) -> None:
    assert projected(weights, tmp_path / "model", cameras, dim) == 2
    error = capsys.readouterr().err
    assert complaint in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_training_images_that_are_all_alike_span_too_little(
    weights: Path, cameras: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alike = shutil.copytree(cameras, tmp_path / "alike")
    for path in alike.glob("train-*.png"):
        shutil.copy(cameras / "train-00.png", path)
    assert projected(weights, tmp_path / "model", alike, 2) == 2
    assert (
        f"expected at most 1 dimensions, which {TRAIN} training embeddings of 1,536 span, got 2"
        in capsys.readouterr().err
    )
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    "options",
    [
        ["--project", "10"],
        ["--project-on", "manifest"],
        ["--project", "10", "--project-on", "manifest"],
        ["--project-data", "somewhere"],
    ],
)
def test_half_of_the_options_is_one_line(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["export", "--weights", "none.pt", "--out", str(tmp_path / "model"), *options]
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert "--project D, --project-on and --project-data DIR go together" in error
    assert error.count("\n") == 1


def test_a_dataset_that_is_not_there_is_one_line_before_the_weights_are_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert projected(tmp_path / "none.pt", tmp_path / "model", tmp_path / "nowhere", 10) == 2
    error = capsys.readouterr().err
    assert "nowhere" in error
    assert error.count("\n") == 1
