"""Golden networks: weights by name and shape, as `tests/golden/reference_weights.py` gives them."""

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.config import BackboneName, MPANetConfig
from model.network.mpanet import MPANet

GOLDEN = Path(__file__).parent.parent / "golden"
CLASSES = 7  # the published network has 395; an embedding reads none of them
HEADS = (
    "classifier",
    "visible_classifier",
    "infrared_classifier",
    "visible_classifier_",
    "infrared_classifier_",
)


def reference_weights() -> ModuleType:
    """The module that the golden data came with."""
    spec = importlib.util.spec_from_file_location("reference", GOLDEN / "reference_weights.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def published_state(
    backbone: BackboneName = "resnet50", *, seed: str = "public", num_patterns: int = 6
) -> dict[str, Tensor]:
    """A published-format state dict, heads included, for `seed`."""
    config = MPANetConfig(backbone=backbone, image_size=(384, 128), num_patterns=num_patterns)
    shapes = {name: tuple(t.shape) for name, t in MPANet(config).state_dict().items()}
    shapes |= {f"{head}.weight": (CLASSES, config.embedding_dim) for head in HEADS}
    values: dict[str, Any] = reference_weights().fill_state_dict(shapes, seed)
    return {name: torch.from_numpy(np.asarray(value)) for name, value in values.items()}


def golden_input(tag: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """The input that a golden output was computed from."""
    normal: NDArray[np.float64] = (
        reference_weights().generator("public", tag).standard_normal(shape)
    )
    return normal.astype(np.float32)
