"""`mpanet export`: what it writes agrees with the reference; bad input leaves nothing behind."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray

from model.artifact import ModelArtifact
from model.config import MPANetConfig
from model.encoder import Encoder
from model.errors import ExportError
from model.network import export
from model.network.checkpoint import save_network
from model.network.export import export_artifact
from model.network.mpanet import MPANet
from mpanet.cli import main
from tests.model.golden import GOLDEN, golden_input, published_state


def needs_openvino(name: str) -> Any:
    """A case that is skipped where the installed ONNX Runtime has no OpenVINO."""
    missing = "OpenVINOExecutionProvider" not in onnxruntime.get_available_providers()
    reason = "the installed ONNX Runtime has no OpenVINO provider"
    return pytest.param(name, marks=pytest.mark.skipif(missing, reason=reason))


@pytest.fixture(scope="module")
def published_export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The golden ResNet-50 weights through the command, at the size of SYSU-MM01."""
    directory = tmp_path_factory.mktemp("export")
    torch.save(published_state(), directory / "model_best.pth")
    arguments = ["--weights", str(directory / "model_best.pth"), "--out", str(directory / "model")]
    assert main(["export", *arguments]) == 0
    return directory / "model"


def run_alone(artifact: ModelArtifact, images: np.ndarray[Any, Any]) -> list[Any]:
    session = onnxruntime.InferenceSession(
        str(artifact.onnx_path), providers=["CPUExecutionProvider"]
    )
    outputs: list[Any] = session.run(["embedding", "pattern_maps"], {"image": images})
    return outputs


def test_exported_graph_alone_agrees_with_the_reference(published_export: Path) -> None:
    artifact = ModelArtifact.load(published_export)
    assert artifact.config == MPANetConfig(
        backbone="resnet50", image_size=(384, 128), num_patterns=6
    )
    expected = np.load(GOLDEN / "embedding_sysu.npz")
    embedding, maps = run_alone(artifact, golden_input("input-sysu", (2, 3, 384, 128)))
    reference = expected["embedding"].astype(np.float64)
    reference /= np.linalg.norm(reference, axis=1, keepdims=True)
    np.testing.assert_allclose(np.linalg.norm(embedding, axis=1), 1.0, rtol=1e-5)
    assert (embedding * reference).sum(1).min() > 0.999999
    np.testing.assert_allclose(embedding, reference, atol=1e-4 * np.abs(reference).max())
    np.testing.assert_allclose(maps, expected["pattern_maps"], atol=3e-5)


def test_graph_has_the_contract_s_names_and_only_n_is_free(published_export: Path) -> None:
    graph = onnx.load(published_export / "model.onnx").graph

    def shape(value: Any) -> list[int | str]:
        return [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]

    assert {value.name: shape(value) for value in graph.input} == {"image": ["N", 3, 384, 128]}
    assert {value.name: shape(value) for value in graph.output} == {
        "embedding": ["N", 14336],
        "pattern_maps": ["N", 6, 24, 8],
    }


def test_graph_names_no_file_of_the_machine_that_made_it(small_artifact: ModelArtifact) -> None:
    content = small_artifact.onnx_path.read_bytes()
    assert b"site-packages" not in content
    assert str(Path(__file__).parents[2]).encode() not in content


def test_same_network_gives_the_same_model_id_and_training_can_go_on(
    small_network: MPANet, small_artifact: ModelArtifact, tmp_path: Path
) -> None:
    network = MPANet(small_network.config)
    network.load_state_dict(small_network.state_dict())
    network.train()
    again, _ = export_artifact(network, tmp_path / "again")
    assert again.model_id == small_artifact.model_id
    assert network.training
    assert all(parameter.grad is None for parameter in network.parameters())


def test_a_graph_that_disagrees_is_not_written(
    small_network: MPANet,
    small_artifact: ModelArtifact,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = MPANet(small_network.config)
    other.load_state_dict(small_network.state_dict())
    other.bn_neck.load_state_dict(other.bn_neck.state_dict() | {"bias": torch.full((1536,), 0.01)})
    monkeypatch.setattr(export, "trace", lambda *_: onnx.load(small_artifact.onnx_path))
    with pytest.raises(ExportError, match="the ONNX graph disagrees with the network"):
        export_artifact(other, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_own_checkpoint_becomes_an_artifact_of_fp16_weights_with_its_source(
    small_network: MPANet,
    small_artifact: ModelArtifact,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    save_network(tmp_path / "best.pt", small_network, source={"recipe": "demo", "commit": "abc"})
    arguments = ["--weights", str(tmp_path / "best.pt"), "--out", str(tmp_path / "model"), "--json"]
    assert main(["export", *arguments, "--weights-precision", "fp16"]) == 0
    result = json.loads(capsys.readouterr().out)
    half = ModelArtifact.load(tmp_path / "model")
    assert result["model_id"] == half.model_id != small_artifact.model_id
    assert result["onnx_bytes"] == half.onnx_path.stat().st_size
    assert result["checked_batch_sizes"] == [1, 5]
    assert half.manifest.source.model_dump() == {"recipe": "demo", "commit": "abc"}
    assert half.config == small_network.config
    assert half.onnx_path.stat().st_size < 0.52 * small_artifact.onnx_path.stat().st_size
    images = np.random.default_rng(3).standard_normal((3, 3, 64, 32)).astype(np.float32)
    embedding, _ = run_alone(half, images)
    whole, _ = run_alone(small_artifact, images)
    assert (embedding * whole).sum(1).min() > 0.9999
    assert np.abs(embedding - whole).max() > 0  # the weights really were rounded


def orthonormal(dim: int, seed: int = 0) -> NDArray[np.float32]:
    """Columns (1536, dim) for the small network's features."""
    normal = np.random.default_rng(seed).standard_normal((1536, dim))
    return np.linalg.qr(normal)[0].astype(np.float32)


@pytest.mark.parametrize(("precision", "cosine"), [("fp32", 0.999999), ("fp16", 0.9999)])
def test_a_projection_lies_inside_the_graph(
    small_network: MPANet,
    small_artifact: ModelArtifact,
    tmp_path: Path,
    precision: Any,
    cosine: float,
) -> None:
    matrix = orthonormal(40)
    artifact, agreement = export_artifact(
        small_network, tmp_path / "model", projection=matrix, weights_precision=precision
    )
    assert agreement.cosine > cosine
    assert artifact.config == small_network.config.model_copy(update={"projected_dim": 40})
    images = np.random.default_rng(4).standard_normal((3, 3, 64, 32)).astype(np.float32)
    whole, expected_maps = run_alone(small_artifact, images)
    expected = whole.astype(np.float64) @ matrix
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    with Encoder.open(ModelArtifact.load(tmp_path / "model"), provider="cpu") as encoder:
        encoded = encoder.encode(images)
    assert encoded.embedding.shape == (3, 40)
    assert encoded.embedding.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(encoded.embedding, axis=1), 1.0, rtol=1e-6)
    assert (encoded.embedding * expected).sum(axis=1).min() > cosine
    tolerance = 1e-6 if precision == "fp32" else 2e-2
    np.testing.assert_allclose(encoded.pattern_maps, expected_maps, atol=tolerance)


def test_the_same_projection_gives_the_same_model_id_and_another_one_does_not(
    small_network: MPANet, small_artifact: ModelArtifact, tmp_path: Path
) -> None:
    ids = [
        export_artifact(small_network, tmp_path / name, projection=orthonormal(40, seed))[
            0
        ].model_id
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    ]
    assert ids[0] == ids[1]
    assert len({*ids, small_artifact.model_id}) == 3


@pytest.mark.parametrize(
    ("projection", "complaint"),
    [
        (np.ones((512, 40), np.float32), r"of D = 1,536 features .* got shape \(512, 40\)"),
        (np.ones((1536, 1537), np.float32), r"at most as many"),
        (np.ones((1536, 0), np.float32), r"got shape \(1536, 0\)"),
        (np.ones(1536, np.float32), r"got shape \(1536,\)"),
        (np.ones((1536, 4)), "float32 projection, got float64"),
        (np.full((1536, 4), np.nan, np.float32), "expected a finite"),
    ],
)
def test_a_projection_that_does_not_fit_is_one_line_and_nothing_is_written(
    small_network: MPANet, tmp_path: Path, projection: Any, complaint: str
) -> None:
    with pytest.raises(ExportError, match=complaint) as caught:
        export_artifact(small_network, tmp_path / "model", projection=projection)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("provider", ["cpu", needs_openvino("openvino")])
@pytest.mark.parametrize("num_patterns", [0, 2])
def test_networks_of_an_ablation_are_exported_and_embed_as_in_torch(
    tmp_path: Path, num_patterns: int, provider: str
) -> None:
    torch.manual_seed(1)
    network = MPANet(
        MPANetConfig(
            backbone="resnet18",
            image_size=(64, 32),
            num_patterns=num_patterns,
            modality_alleviation=False,
        )
    ).eval()
    export_artifact(network, tmp_path / "model")
    artifact = ModelArtifact.load(tmp_path / "model")
    assert artifact.config == network.config
    images = np.random.default_rng(5).standard_normal((3, 3, 64, 32)).astype(np.float32)
    with torch.inference_mode():
        features = network(torch.from_numpy(images))
    expected = torch.nn.functional.normalize(features.embedding).numpy()
    with Encoder.open(artifact, provider=provider, precision="fp32") as encoder:
        encoded = encoder.encode(images)
    assert encoded.embedding.shape == (3, (num_patterns + 1) * 512)
    np.testing.assert_allclose(encoded.embedding, expected, atol=1e-5)
    assert encoded.pattern_maps.shape == (3, num_patterns, 4, 2)
    np.testing.assert_allclose(encoded.pattern_maps, features.pattern_maps.numpy(), atol=1e-4)


@pytest.mark.parametrize("content", [None, b"", b"not a checkpoint", "truncated"])
def test_bad_weights_are_one_line_and_exit_2(
    small_network: MPANet, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: Any
) -> None:
    path = tmp_path / "weights.pth"
    if content == "truncated":
        save_network(path, small_network)
        content = path.read_bytes()[:100_000]
    if content is not None:
        path.write_bytes(content)
    before = sorted(tmp_path.iterdir())
    assert main(["export", "--weights", str(path), "--out", str(tmp_path / "model")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert str(path) in error
    assert sorted(tmp_path.iterdir()) == before


def test_existing_output_is_refused_before_the_weights_are_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "notes.txt").write_text("mine")
    assert main(["export", "--weights", "none.pth", "--out", str(tmp_path / "model")]) == 2
    assert "exists already" in capsys.readouterr().err


@pytest.mark.parametrize("size", ["384", "384x", "x128", "0x128", "384x16", "99999x128", "3e2x10"])
def test_odd_image_sizes_are_one_line_and_exit_2(
    small_network: MPANet, tmp_path: Path, capsys: pytest.CaptureFixture[str], size: str
) -> None:
    save_network(tmp_path / "best.pt", small_network)
    arguments = ["--weights", str(tmp_path / "best.pt"), "--out", str(tmp_path / "model")]
    try:
        code = main(["export", *arguments, "--image-size", size])
    except SystemExit as stop:
        code = int(str(stop.code))
    assert code == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "model").exists()
