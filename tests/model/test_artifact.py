"""A model directory is whole and as it was written, or refused by the name of the file."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

import mpanet
from model.artifact import (
    ModelArtifact,
    ModelFigures,
    ModelSource,
    model_id_of,
    with_calibration,
    with_metrics,
    write_artifact,
)
from model.config import MPANetConfig
from model.errors import ArtifactError, ExportError
from model.preprocessing import PreprocessingConfig

CONFIG = MPANetConfig(backbone="resnet50", image_size=(384, 128), num_patterns=6)
ONNX = b"the bytes of a graph"


def written(directory: Path, onnx: bytes = ONNX, config: MPANetConfig = CONFIG) -> ModelArtifact:
    preprocessing = PreprocessingConfig()
    model_id = model_id_of(hashlib.sha256(onnx).hexdigest(), config, preprocessing)
    return write_artifact(
        directory,
        onnx,
        config=config,
        preprocessing=preprocessing,
        metrics=ModelFigures(model_id, {"sysu-mm01 all 1-shot": {"rank1": 70.5}}),
        source=ModelSource(recipe="mpanet", commit="abc"),
    )


def edit_manifest(directory: Path, **changes: Any) -> None:
    path = directory / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_what_is_written_is_what_is_loaded(tmp_path: Path) -> None:
    artifact = written(tmp_path / "model")
    loaded = ModelArtifact.load(tmp_path / "model")
    assert loaded == artifact
    assert loaded.config == CONFIG
    assert loaded.onnx_path.read_bytes() == ONNX
    assert sorted(path.name for path in tmp_path.rglob("*")) == [
        "manifest.json",
        "model",
        "model.onnx",
    ]


def test_manifest_has_exactly_the_fields_of_the_contract(tmp_path: Path) -> None:
    written(tmp_path / "model")
    manifest = json.loads((tmp_path / "model" / "manifest.json").read_text())
    assert set(manifest) == {
        "format",
        "model_id",
        "config",
        "preprocessing",
        "onnx_sha256",
        "metrics",
        "calibration",
        "created_at",
        "source",
    }
    assert manifest["format"] == 1
    assert manifest["calibration"] is None
    assert manifest["config"] == {
        "backbone": "resnet50",
        "image_size": [384, 128],
        "num_patterns": 6,
        "embedding_dim": 14336,
    }
    assert manifest["metrics"] == {"sysu-mm01 all 1-shot": {"rank1": 70.5}}
    assert manifest["source"] == {"recipe": "mpanet", "commit": "abc"}


def test_figures_of_another_model_are_refused_and_nothing_is_written(tmp_path: Path) -> None:
    ours, other = written(tmp_path / "ours").model_id, "0" * 64
    with pytest.raises(ExportError, match=f"figures of model {ours}.* got those of model {other}"):
        write_artifact(
            tmp_path / "model",
            ONNX,
            config=CONFIG,
            preprocessing=PreprocessingConfig(),
            metrics=ModelFigures(other, {}),
        )
    assert [path.name for path in tmp_path.iterdir()] == ["ours"]


def test_a_projected_model_says_the_length_of_its_embedding(tmp_path: Path) -> None:
    projected = CONFIG.model_copy(update={"projected_dim": 512})
    artifact = written(tmp_path / "model", config=projected)
    config = json.loads((tmp_path / "model" / "manifest.json").read_text())["config"]
    assert (config["embedding_dim"], config["projected_dim"]) == (512, 512)
    loaded = ModelArtifact.load(tmp_path / "model")
    assert loaded == artifact
    assert (loaded.config.embedding_dim, loaded.config.feature_dim) == (512, 14336)
    edit_manifest(tmp_path / "model", config=config | {"embedding_dim": 14336})
    with pytest.raises(ArtifactError, match=r"expected embedding_dim 512 of .* and a projection"):
        ModelArtifact.load(tmp_path / "model")


def test_ids_of_models_older_than_the_options_of_ablations_still_hold() -> None:
    artifact = ModelArtifact.load(Path(mpanet.__file__).parent / "demo_model")
    assert artifact.model_id == "d97bfa9b2763656e1a91d1c5a40c3d773d5fddff6f7d090aa93b5e9fe6412495"
    assert artifact.config.embedding_dim == artifact.config.feature_dim == 3584


def test_model_id_follows_the_content_and_nothing_else(tmp_path: Path) -> None:
    first = written(tmp_path / "a").model_id
    assert written(tmp_path / "b").model_id == first
    assert written(tmp_path / "c", onnx=ONNX + b".").model_id != first
    smaller = CONFIG.model_copy(update={"image_size": (256, 128)})
    assert written(tmp_path / "d", config=smaller).model_id != first


def test_a_manifest_takes_a_calibration_and_figures_and_nothing_else_changes(
    tmp_path: Path,
) -> None:
    before = written(tmp_path / "model")
    manifest = tmp_path / "model" / "manifest.json"
    content = json.loads(manifest.read_text())
    with_calibration(before.directory, {"visible-visible": {"persons": 3}})
    with_metrics(before.directory, ModelFigures(before.model_id, {"regdb": {"mAP": 50.0}}))
    assert json.loads(manifest.read_text()) == content | {
        "calibration": {"visible-visible": {"persons": 3}},
        "metrics": {"regdb": {"mAP": 50.0}},
    }
    loaded = ModelArtifact.load(before.directory)
    assert loaded.model_id == before.model_id
    assert with_calibration(before.directory, None).manifest.calibration is None
    assert sorted(path.name for path in before.directory.iterdir()) == [
        "manifest.json",
        "model.onnx",
    ]


def test_figures_of_another_model_do_not_get_into_a_manifest(tmp_path: Path) -> None:
    before = written(tmp_path / "model")
    with pytest.raises(ExportError, match="got those of model 0"):
        with_metrics(before.directory, ModelFigures("0" * 64, {}))
    assert ModelArtifact.load(before.directory) == before


def test_an_existing_directory_is_never_written_over(tmp_path: Path) -> None:
    artifact = written(tmp_path / "model")
    with pytest.raises(ExportError, match="exists already"):
        written(tmp_path / "model", onnx=b"other")
    assert ModelArtifact.load(tmp_path / "model") == artifact
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ExportError, match="exists already"):
        written(tmp_path / "link")


def test_an_empty_directory_is_filled(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    artifact = written(tmp_path / "empty")
    assert ModelArtifact.load(tmp_path / "empty") == artifact


def test_a_failed_write_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ExportError, match="cannot write the model directory"):
        written(tmp_path / "file" / "model")

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "rename", full_disk)  # the last step, after all was written
    with pytest.raises(ExportError, match="No space left on device"):
        written(tmp_path / "model")
    assert [path.name for path in tmp_path.rglob("*")] == ["file"]


def test_a_flipped_bit_of_the_graph_is_refused_by_name(tmp_path: Path) -> None:
    artifact = written(tmp_path / "model")
    artifact.onnx_path.write_bytes(bytes([ONNX[0] ^ 1]) + ONNX[1:])
    with pytest.raises(ArtifactError, match=r"model\.onnx does not match its manifest"):
        ModelArtifact.load(tmp_path / "model")


@pytest.mark.parametrize("name", ["model.onnx", "manifest.json"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    written(tmp_path / "model")
    (tmp_path / "model" / name).unlink()
    with pytest.raises(ArtifactError, match=name):
        ModelArtifact.load(tmp_path / "model")


def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="nowhere"):
        ModelArtifact.load(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"format": 2}, r"manifest\.json: format: .* 1 \(got 2\)"),
        ({"colour": "red"}, r"manifest\.json: colour: .*not permitted"),
        ({"model_id": "0" * 64}, r"manifest\.json was changed"),
        ({"model_id": "short"}, r"manifest\.json: model_id"),
        ({"onnx_sha256": "0" * 64}, r"model\.onnx does not match its manifest"),
        ({"created_at": "yesterday"}, r"manifest\.json: created_at"),
        ({"source": {"who": "me"}}, r"manifest\.json: source\.who"),
        ({"preprocessing": {"mean": [0.5, 0.5, 0.5]}}, r"manifest\.json was changed"),
        ({"preprocessing": {"interpolation": "cubic"}}, r"preprocessing\.interpolation"),
        ({"preprocessing": {"tone_mapping": "depth-v2"}}, r"preprocessing\.tone_mapping"),
        ({"config": {"backbone": "vgg"}}, r"manifest\.json: config\.?.*backbone"),
    ],
)
def test_an_edited_manifest_is_refused(
    tmp_path: Path, changes: dict[str, Any], complaint: str
) -> None:
    written(tmp_path / "model")
    edit_manifest(tmp_path / "model", **changes)
    with pytest.raises(ArtifactError, match=complaint) as caught:
        ModelArtifact.load(tmp_path / "model")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"image_size": [256, 128]}, "was changed"),
        ({"embedding_dim": 2048}, "expected embedding_dim 14336"),
        ({"num_patterns": 5}, "expected embedding_dim 12288"),
        ({"image_size": [384, 0]}, "image_size"),
        ({"stride": 1}, "stride"),
        ({"projected_dim": 14337, "embedding_dim": 14337}, "projected_dim of at most 14336"),
        ({"projected_dim": 0}, "projected_dim"),
    ],
)
def test_an_edited_config_is_refused(
    tmp_path: Path, changes: dict[str, Any], complaint: str
) -> None:
    directory = tmp_path / "model"
    config = json.loads(written(directory).manifest.model_dump_json())["config"]
    edit_manifest(directory, config=config | changes)
    with pytest.raises(ArtifactError, match=complaint):
        ModelArtifact.load(directory)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"\xff\xfe", b"null"])
def test_a_manifest_that_is_no_manifest_is_refused(tmp_path: Path, text: bytes) -> None:
    written(tmp_path / "model")
    (tmp_path / "model" / "manifest.json").write_bytes(text)
    with pytest.raises(ArtifactError, match=r"manifest\.json"):
        ModelArtifact.load(tmp_path / "model")
