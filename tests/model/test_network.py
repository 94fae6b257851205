"""The network against the reference implementation, and its layers against plain loops."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision.models import resnet18

from model.config import BackboneName, MPANetConfig
from model.errors import CheckpointError
from model.network.checkpoint import load_network
from model.network.layers import ModalityAlleviation, pool_patterns
from model.network.mpanet import MPANet
from tests.model.golden import GOLDEN, golden_input, published_state


@pytest.fixture(scope="module")
def published_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("published") / "model_best.pth"
    torch.save(published_state(), path)
    return path


@pytest.mark.parametrize(("dataset", "image_size"), [("sysu", (384, 128)), ("regdb", (256, 128))])
def test_published_network_agrees_with_the_reference(
    published_file: Path, dataset: str, image_size: tuple[int, int]
) -> None:
    expected = np.load(GOLDEN / f"embedding_{dataset}.npz")
    network = load_network(published_file, image_size).network
    images = torch.from_numpy(golden_input(f"input-{dataset}", (2, 3, *image_size)))
    with torch.inference_mode():
        features = network(images)
    embedding = features.embedding.numpy()
    assert np.abs(embedding - expected["embedding"]).max() <= 1e-4 * np.abs(embedding).max()
    relative = np.linalg.norm(embedding - expected["embedding"]) / np.linalg.norm(embedding)
    assert relative < 1e-4
    np.testing.assert_allclose(features.pattern_maps.numpy(), expected["pattern_maps"], atol=1e-5)


@pytest.mark.parametrize(
    ("backbone", "channels"), [("resnet18", 512), ("resnet34", 512), ("resnet50", 2048)]
)
def test_shapes_follow_the_config(backbone: BackboneName, channels: int) -> None:
    config = MPANetConfig(backbone=backbone, image_size=(96, 40), num_patterns=3)
    network = MPANet(config).eval()
    with torch.inference_mode():
        features = network(torch.zeros(2, 3, 96, 40))
    assert config.map_size == (6, 3)
    assert config.embedding_dim == 4 * channels
    assert features.pooled.shape == features.embedding.shape == (2, 4 * channels)
    assert features.pattern_maps.shape == (2, 3, 6, 3)


@pytest.mark.parametrize("num_patterns", [0, 2])
def test_without_modality_alleviation_the_backbone_is_a_plain_resnet(num_patterns: int) -> None:
    config = MPANetConfig(
        backbone="resnet18", image_size=(64, 32), num_patterns=num_patterns,
        modality_alleviation=False,
    )  # fmt: skip
    network = MPANet(config).eval()
    plain = resnet18(weights=None)
    for block in plain.layer4.children():
        for module in block.modules():
            if isinstance(module, nn.Conv2d):
                module.stride = (1, 1)
    names = plain.state_dict().keys() & network.backbone.state_dict().keys()
    plain.load_state_dict({name: network.backbone.state_dict()[name] for name in names}, False)
    images = torch.rand(2, 3, 64, 32, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        features = network(images)
        pooled = nn.Sequential(*list(plain.eval().children())[:-1])(images).flatten(1)
    assert features.pattern_maps.shape == (2, num_patterns, 4, 2)
    assert config.embedding_dim == 512 * (num_patterns + 1)
    np.testing.assert_allclose(features.pooled[:, -512:].numpy(), pooled.numpy(), rtol=1e-4)


def test_pooling_is_the_loop_over_patterns() -> None:
    generator = torch.Generator().manual_seed(1)
    features = torch.rand(2, 5, 4, 3, generator=generator)
    maps = torch.rand(2, 3, 4, 3, generator=generator)
    expected = []
    for features_of_one, maps_of_one in zip(features.numpy(), maps.numpy(), strict=True):
        blocks = [[(channel * m).sum() / 12 for channel in features_of_one] for m in maps_of_one]
        blocks.append([channel.sum() / 12 for channel in features_of_one])
        expected.append(np.concatenate(blocks))
    pooled = pool_patterns(features, maps)
    np.testing.assert_allclose(pooled.numpy(), np.stack(expected), rtol=1e-5)
    channels_last = features.contiguous(memory_format=torch.channels_last)
    np.testing.assert_allclose(pool_patterns(channels_last, maps).numpy(), pooled, rtol=1e-5)


def test_alleviation_keeps_an_image_whose_mask_is_one() -> None:
    layer = ModalityAlleviation(32)
    expand = layer.channel_attention[2]
    squeeze = layer.channel_attention[0]
    assert isinstance(expand, nn.Conv2d)
    assert isinstance(squeeze, nn.Conv2d)
    features = torch.rand(2, 32, 5, 4) + 1.0
    nn.init.constant_(squeeze.weight, 1.0)
    nn.init.constant_(expand.weight, 10.0)  # sigmoid(10 * 2 * sum of means) is 1
    torch.testing.assert_close(layer(features), features)
    nn.init.constant_(expand.weight, -10.0)  # mask 0: what is left is instance-normalised
    normalised = layer(features)
    torch.testing.assert_close(normalised.mean((2, 3)), torch.zeros(2, 32), atol=1e-5, rtol=0)
    spread = normalised.var((2, 3), unbiased=False)
    torch.testing.assert_close(spread, torch.ones(2, 32), atol=1e-3, rtol=0)


def test_neck_bias_is_frozen_and_everything_else_trains() -> None:
    network = MPANet(MPANetConfig(backbone="resnet18", image_size=(64, 32), num_patterns=2))
    network(torch.rand(4, 3, 64, 32)).embedding.square().sum().backward()
    frozen = [name for name, p in network.named_parameters() if not p.requires_grad]
    assert frozen == ["bn_neck.bias"]
    assert all(p.grad is not None for p in network.parameters() if p.requires_grad)


def imagenet_weights() -> dict[str, Tensor]:
    weights: dict[str, Tensor] = resnet18(weights=None).state_dict()
    return weights


def test_imagenet_weights_fill_the_backbone() -> None:
    network = MPANet(MPANetConfig(backbone="resnet18", image_size=(64, 32), num_patterns=2))
    weights = imagenet_weights()
    network.initialise_from_imagenet(weights)
    torch.testing.assert_close(
        network.backbone.state_dict()["layer4.1.conv2.weight"], weights["layer4.1.conv2.weight"]
    )
    network.initialise_from_imagenet(  # files of before 2018 have no counters
        {k: v for k, v in weights.items() if not k.endswith("num_batches_tracked")}
    )


def test_imagenet_weights_of_another_backbone_are_refused_by_key() -> None:
    network = MPANet(MPANetConfig(backbone="resnet34", image_size=(64, 32), num_patterns=2))
    with pytest.raises(CheckpointError, match=r"layer1\.2\.bn1\.bias"):
        network.initialise_from_imagenet(imagenet_weights())
    network = MPANet(MPANetConfig(backbone="resnet18", image_size=(64, 32), num_patterns=2))
    wrong = {**imagenet_weights(), "conv1.weight": torch.zeros(64, 1, 7, 7)}
    with pytest.raises(CheckpointError, match=r"conv1\.weight of shape \(64, 3, 7, 7\), got"):
        network.initialise_from_imagenet(wrong)
