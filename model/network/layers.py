"""The two layers that MPANet adds to a ResNet: modality alleviation and pattern alignment.

Source: Wu et al., CVPR 2021, sections 3.2 and 3.3; details after the authors' implementation
(DoubtedSteam/MPANet, models/resnet.py and models/baseline.py, commit f57fd5c).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

REDUCTION = 16


class ModalityAlleviation(nn.Module):
    """Mixes a feature map with its instance-normalised self, channel by channel.

    A channel mask m in (0, 1) is squeezed out of the map's mean; the output is
    x * m + InstanceNorm(x) * (1 - m). Statistics are always of the image at hand, in evaluation
    too. (N, C, h, w) -> (N, C, h, w).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channel_attention = nn.Sequential(
            nn.Conv2d(channels, channels // REDUCTION, kernel_size=1, bias=False),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels // REDUCTION, channels, kernel_size=1, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, features: Tensor) -> Tensor:
        mask: Tensor = self.channel_attention(_average(features))
        normalised = functional.instance_norm(features)
        return features * mask + normalised * (1 - mask)


def _average(features: Tensor) -> Tensor:
    """Average over positions, (N, C, h, w) -> (N, C, 1, 1), summed in the reference's order.

    The mask magnifies rounding: by `mean` the gradients of a step differ by 2e-4.
    """
    return functional.avg_pool2d(features, (features.shape[2], features.shape[3]))


def pool_patterns(features: Tensor, pattern_maps: Tensor) -> Tensor:
    """Average a feature map under each pattern map, then plainly: the blocks of an embedding.

    features (N, C, h, w), pattern_maps (N, P, h, w) -> (N, (P + 1) * C), the global block last.
    Each sum is divided by h * w, not by the mass of its map.
    """
    rows = features.flatten(2).transpose(1, 2)  # (N, h * w, C)
    weights = pattern_maps.flatten(2)  # (N, P, h * w)
    by_pattern = torch.bmm(weights, rows) / rows.shape[1]  # (N, P, C)
    overall = rows.mean(1, keepdim=True)  # (N, 1, C)
    return torch.cat([by_pattern, overall], dim=1).flatten(1)
