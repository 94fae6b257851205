"""The network: MPANet, what it returns, and its start from ImageNet weights.

Modality is no input: one stream sees both. Losses and classifiers belong to `training`.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from model.config import MPANetConfig
from model.errors import CheckpointError
from model.network.backbone import Backbone, imagenet_shapes
from model.network.layers import pool_patterns

COUNTER_SUFFIX = "num_batches_tracked"


class Features(NamedTuple):
    """What the network says about a batch, in training and in evaluation alike.

    pooled: (N, D) the blocks before the neck; what centre losses measure.
    embedding: (N, D) after the neck, not normalised; what classifiers and searches read.
    pattern_maps: (N, P, h, w) in [0, 1].
    """

    pooled: Tensor
    embedding: Tensor
    pattern_maps: Tensor


class MPANet(nn.Module):
    """Visible or infrared images (N, 3, H, W) -> `Features`; shaped by its config alone.

    Source: Wu et al., CVPR 2021, section 3; layer names are those of the published checkpoint.
    """

    def __init__(self, config: MPANetConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = Backbone(config)
        self.spatial_attention: nn.Conv2d | None = None
        if config.num_patterns:
            self.spatial_attention = nn.Conv2d(config.channels, config.num_patterns, kernel_size=1)
            nn.init.zeros_(self.spatial_attention.bias)  # type: ignore[arg-type]
        self.bn_neck = nn.BatchNorm1d(config.feature_dim)
        self.bn_neck.bias.requires_grad_(False)

    def forward(self, images: Tensor) -> Features:
        features = self.backbone(images)  # (N, C, h, w)
        pattern_maps = self._pattern_maps(features)  # (N, P, h, w)
        pooled = pool_patterns(features, pattern_maps)  # (N, (P + 1) * C)
        return Features(pooled, self.bn_neck(pooled), pattern_maps)

    def _pattern_maps(self, features: Tensor) -> Tensor:
        if self.spatial_attention is None:
            return features[:, :0]
        return torch.sigmoid(self.spatial_attention(features))

    def initialise_from_imagenet(self, weights: Mapping[str, Tensor]) -> None:
        """Copy torchvision's ImageNet weights into the backbone; their `fc` is left out.

        Raises:
            CheckpointError: a key is missing or unknown, or a shape is another one.
        """
        expected = imagenet_shapes(self.backbone)
        usable = {name: t for name, t in weights.items() if not name.startswith("fc.")}
        check_keys_and_shapes(
            {k: v for k, v in expected.items() if not k.endswith(COUNTER_SUFFIX)},
            {k: v for k, v in usable.items() if not k.endswith(COUNTER_SUFFIX)},
            where="the ImageNet weights",
        )
        with torch.no_grad():
            own = self.backbone.state_dict()
            for name, tensor in usable.items():
                own[name].copy_(tensor)


def check_keys_and_shapes(
    expected: Mapping[str, torch.Size], came: Mapping[str, Tensor], *, where: str
) -> None:
    """Refuse weights that are not exactly the expected ones, naming the keys.

    Raises:
        CheckpointError: a key is missing or unknown, a value is no tensor or of another shape.
    """
    if missing := sorted(expected.keys() - came.keys()):
        raise CheckpointError(f"{where}: expected {_some(missing)}, which is not there")
    if unknown := sorted(came.keys() - expected.keys()):
        raise CheckpointError(f"{where}: unknown key {_some(unknown)}")
    for name, shape in expected.items():
        value = came[name]
        if not isinstance(value, Tensor):
            raise CheckpointError(f"{where}: {name} is a {type(value).__name__}, not a tensor")
        if value.shape != shape:
            raise CheckpointError(
                f"{where}: expected {name} of shape {tuple(shape)}, got {tuple(value.shape)}"
            )


def _some(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} (and {len(names) - 1} more)"
