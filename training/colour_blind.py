"""A first layer that sees luminance only: colour vision taken out of the weights themselves.

A recipe that shows the network decoloured visible images must not be served coloured ones. Grey
is linear in RGB, so it folds into the first convolution and the batch norm behind it: the artifact
needs no other preprocessing, and infrared, which is grey already, passes unchanged.
"""

import torch
from torch import Tensor

from model.preprocessing import PreprocessingConfig

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as Pillow's grey
STEM_WEIGHT = "backbone.conv1.weight"
STEM_MEAN = "backbone.bn1.running_mean"


def fold_luminance(
    weight: Tensor, running_mean: Tensor, preprocessing: PreprocessingConfig
) -> tuple[Tensor, Tensor]:
    """First convolution and batch norm mean that answer a coloured image as its grey one.

    Exact inside the image; where the kernel reaches into the zero padding, exact only if mean and
    std are the same for all channels.

    Args:
        weight: (C, 3, k, k), without a bias.
        running_mean: (C,), of the batch norm behind it.
    """
    luma, mean, std = (
        torch.tensor(values, dtype=torch.float64, device=weight.device)
        for values in (LUMA, preprocessing.mean, preprocessing.std)
    )
    wide = weight.double()
    shared = (wide / std[:, None, None]).sum(1, keepdim=True)  # (C, 1, k, k)
    folded = shared * (luma * std)[:, None, None]
    offset = ((luma * mean).sum() - mean) / std
    shift = (wide.sum((2, 3)) * offset).sum(1)
    return folded.to(weight.dtype), (running_mean.double() - shift).to(running_mean.dtype)
