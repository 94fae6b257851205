"""Where a network starts: each kind of file fills what it should, and no other is taken."""

from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from torchvision.models import ResNet18_Weights, resnet18, resnet34

from model.config import MPANetConfig
from model.network.checkpoint import save_network
from model.network.mpanet import MPANet
from training.errors import RunError
from training.initialisation import initialise

CONFIG = MPANetConfig(backbone="resnet18", image_size=(64, 32), num_patterns=2)


def _filled(source: Path | str, config: MPANetConfig = CONFIG) -> MPANet:
    torch.manual_seed(0)
    network = MPANet(config)
    initialise(network, str(source))
    return network


def test_torchvisions_file_fills_the_backbone_and_nothing_else(tmp_path: Path) -> None:
    torch.manual_seed(5)
    given = resnet18(weights=None)
    torch.save(given.state_dict(), tmp_path / "resnet18.pth")
    found = _filled(tmp_path / "resnet18.pth")
    own = _filled("none")
    assert torch.equal(found.backbone.layer3[0].conv1.weight, given.layer3[0].conv1.weight)
    assert torch.equal(found.backbone.bn1.running_var, given.bn1.running_var)
    for name, value in own.state_dict().items():
        if "MAM" in name or not name.startswith("backbone."):
            assert torch.equal(found.state_dict()[name], value), name


def test_a_checkpoint_of_ours_fills_the_whole_network_at_another_image_size(tmp_path: Path) -> None:
    torch.manual_seed(5)
    given = MPANet(CONFIG.model_copy(update={"image_size": (128, 48)}))
    save_network(tmp_path / "ours.ckpt", given)
    found = _filled(tmp_path / "ours.ckpt").state_dict()
    for name, value in given.state_dict().items():
        assert torch.equal(found[name], value), name


def test_weights_of_another_architecture_are_refused_by_key_or_name(tmp_path: Path) -> None:
    torch.save(resnet34(weights=None).state_dict(), tmp_path / "resnet34.pth")
    save_network(tmp_path / "four.ckpt", MPANet(CONFIG.model_copy(update={"num_patterns": 4})))
    torch.save({"weights": torch.zeros(2)}, tmp_path / "foreign.pth")
    (tmp_path / "broken.pth").write_bytes(b"PK\x03\x04 not weights")
    for name, complaint in {
        "resnet34.pth": r"unknown key layer1\.2\.bn1\.bias",
        "four.ckpt": r"four\.ckpt: expected weights of num_patterns 2, got 4",
        "foreign.pth": r"foreign\.pth: expected a checkpoint of ours",
        "broken.pth": r"broken\.pth is no checkpoint",
        "absent.pth": r"expected a file of weights at .*absent\.pth, found none",
    }.items():
        with pytest.raises(RunError, match=complaint) as caught:
            _filled(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_imagenet_weights_fill_the_backbone(monkeypatch: pytest.MonkeyPatch) -> None:
    """torchvision's own download, in its place the weights of another seed."""
    torch.manual_seed(5)
    given = resnet18(weights=None)
    monkeypatch.setattr(
        ResNet18_Weights.IMAGENET1K_V1.__class__,
        "get_state_dict",
        lambda self, *_, **__: given.state_dict(),
    )
    found = _filled("imagenet")
    assert torch.equal(found.backbone.conv1.weight, given.conv1.weight)


def test_without_a_network_the_way_out_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr(ResNet18_Weights.IMAGENET1K_V1.__class__, "get_state_dict", unreachable)
    with pytest.raises(RunError, match=r"resnet18 .*could not be fetched .*no route.*--init FILE"):
        _filled("imagenet")
