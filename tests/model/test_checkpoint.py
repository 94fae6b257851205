"""Files of weights: the three kinds are read, and everything else is refused by name."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from model.config import MPANetConfig
from model.errors import CheckpointError
from model.network.checkpoint import load_network, save_network
from model.network.mpanet import MPANet
from model.preprocessing import PreprocessingConfig
from tests.model.golden import published_state

CONFIG = MPANetConfig(backbone="resnet18", image_size=(64, 32), num_patterns=2)


@pytest.fixture(scope="module")
def published() -> dict[str, Tensor]:
    return published_state("resnet18", num_patterns=4)


def assert_same_weights(network: MPANet, expected: dict[str, Tensor]) -> None:
    state = network.state_dict()
    assert all(torch.equal(state[name], expected[name]) for name in state)


def test_own_checkpoint_comes_back_whole(tmp_path: Path) -> None:
    network = MPANet(CONFIG)
    preprocessing = PreprocessingConfig(mean=(0.5, 0.5, 0.5))
    save_network(
        tmp_path / "best.pt", network, preprocessing=preprocessing, source={"recipe": "demo"}
    )
    loaded = load_network(tmp_path / "best.pt")
    assert loaded.kind == "mpanet"
    assert loaded.network.config == CONFIG
    assert loaded.preprocessing == preprocessing
    assert loaded.source == {"recipe": "demo"}
    assert not loaded.network.training
    assert_same_weights(loaded.network, network.state_dict())
    assert load_network(tmp_path / "best.pt", (96, 48)).network.config.image_size == (96, 48)
    assert [path.name for path in tmp_path.iterdir()] == ["best.pt"]


@pytest.mark.parametrize("wrapping", ["bare", "state_dict", "model", "module."])
def test_published_state_is_read_in_every_wrapping(
    tmp_path: Path, published: dict[str, Tensor], wrapping: str
) -> None:
    contents: dict[str, Any] = dict(published)
    if wrapping == "module.":
        contents = {f"module.{name}": value for name, value in published.items()}
    elif wrapping != "bare":
        contents = {wrapping: contents, "epoch": 3}
    torch.save(contents, tmp_path / "model.pth")
    loaded = load_network(tmp_path / "model.pth")
    assert loaded.kind == "published"
    assert loaded.network.config == MPANetConfig(
        backbone="resnet18", image_size=(384, 128), num_patterns=4
    )
    assert loaded.unused == (
        "classifier.weight",
        "infrared_classifier.weight",
        "infrared_classifier_.weight",
        "visible_classifier.weight",
        "visible_classifier_.weight",
    )
    assert_same_weights(loaded.network, published)


@pytest.mark.parametrize("backbone", ["resnet34", "resnet50"])
def test_backbone_is_read_off_the_keys(tmp_path: Path, backbone: Any) -> None:
    torch.save(published_state(backbone), tmp_path / "model.pth")
    assert load_network(tmp_path / "model.pth").network.config.backbone == backbone


def test_lightning_checkpoint_of_ours_is_read(tmp_path: Path) -> None:
    network = MPANet(CONFIG)
    state = {f"network.{name}": value for name, value in network.state_dict().items()}
    state["heads.classifier.weight"] = torch.zeros(3, CONFIG.embedding_dim)
    contents = {
        "pytorch-lightning_version": "2.5",
        "state_dict": state,
        "mpanet_config": CONFIG.model_dump(mode="json"),
        "optimizer_states": [],
    }
    torch.save(contents, tmp_path / "last.ckpt")
    loaded = load_network(tmp_path / "last.ckpt")
    assert loaded.kind == "lightning"
    assert loaded.unused == ("heads.classifier.weight",)
    assert_same_weights(loaded.network, network.state_dict())


def test_a_projection_in_a_checkpoint_is_refused(tmp_path: Path) -> None:
    network = MPANet(CONFIG.model_copy(update={"projected_dim": 64}))
    save_network(tmp_path / "best.pt", network)
    with pytest.raises(CheckpointError, match=r"best\.pt: .* got projected_dim 64: .* artifact"):
        load_network(tmp_path / "best.pt")


def test_missing_unknown_and_misshapen_keys_are_named(
    tmp_path: Path, published: dict[str, Tensor]
) -> None:
    path = tmp_path / "model.pth"
    name = "backbone.MAM4.channel_attention.2.weight"
    cases: list[tuple[dict[str, Any], str]] = [
        ({k: v for k, v in published.items() if k != name}, rf"expected {name}, which is not"),
        (published | {"backbone.fc.weight": torch.zeros(2)}, r"unknown key backbone\.fc\.weight"),
        (
            published | {name: torch.zeros(512, 16, 1, 1)},
            rf"expected {name} of shape \(512, 32, 1, 1\), got \(512, 16, 1, 1\)",
        ),
        (published | {"bn_neck.bias": 3}, r"bn_neck\.bias is a int, not a tensor"),
        (
            published | {"bn_neck.weight": torch.full((2560,), torch.nan)},
            r"bn_neck\.weight holds values that are not finite",
        ),
        (published | {"spatial_attention.weight": torch.zeros(())}, r"one row a pattern, got \(\)"),
        (
            published | {"infrared_classifier_.weight": torch.zeros(7, 512)},
            r"infrared_classifier_\.weight of shape \(7, 2560\), got \(7, 512\)",
        ),
        ({"weight": torch.zeros(2)}, r"tensor backbone\.conv1\.weight is not there"),
    ]
    for contents, complaint in cases:
        torch.save(contents, path)
        with pytest.raises(CheckpointError, match=complaint) as caught:
            load_network(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_files_that_are_no_checkpoints_are_refused(
    tmp_path: Path, published: dict[str, Tensor]
) -> None:
    path = tmp_path / "model.pth"
    with pytest.raises(CheckpointError, match="found none"):
        load_network(path)
    with pytest.raises(CheckpointError, match="found none"):
        load_network(tmp_path)
    torch.save(published, path)
    whole = path.read_bytes()
    for broken in (
        b"",
        b"hello",
        whole[: len(whole) // 2],
        whole[100:],
        b"PK\x03\x04" + b"\0" * 99,
    ):
        path.write_bytes(broken)
        with pytest.raises(CheckpointError, match="no checkpoint, or a damaged one"):
            load_network(path)
    torch.save([1, 2], path)
    with pytest.raises(CheckpointError, match="got a list"):
        load_network(path)


def test_pickled_code_is_never_run(tmp_path: Path) -> None:
    torch.save({"format": "mpanet-checkpoint", "network": Path("x")}, tmp_path / "model.pth")
    with pytest.raises(CheckpointError, match="no checkpoint, or a damaged one"):
        load_network(tmp_path / "model.pth")


def test_own_checkpoint_of_another_version_or_config_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    contents: dict[str, Any] = {"format": "mpanet-checkpoint", "version": 2}
    torch.save(contents, path)
    with pytest.raises(CheckpointError, match="expected version 1 of mpanet-checkpoint, got 2"):
        load_network(path)
    contents |= {"version": 1, "network": {}, "config": {"backbone": "vgg"}}
    torch.save(contents, path)
    with pytest.raises(CheckpointError, match=r"backbone: .*vgg"):
        load_network(path)
