"""Where a network starts: from nothing, from ImageNet, or from a file of weights.

A file is told apart by its keys: torchvision's format fills the backbone, a checkpoint of ours or a
published one fills the whole network.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torchvision.models import get_model_weights

from model.errors import CheckpointError
from model.network.checkpoint import READING_ERRORS, load_network
from model.network.mpanet import MPANet
from training.errors import RunError

TORCHVISION_KEY = "conv1.weight"
IMAGENET = "IMAGENET1K_V1"  # what torchvision's `pretrained=True` of 2021 meant


def initialise(network: MPANet, source: str) -> None:
    """Fill a network from `none`, `imagenet` or the path of a file.

    Raises:
        RunError: ImageNet weights are neither here nor to be fetched, the file cannot be read or
            is of another architecture; the message names the file and the key.
    """
    if source == "none":
        return
    try:
        if source == "imagenet":
            network.initialise_from_imagenet(_imagenet_weights(network.config.backbone))
        else:
            _initialise_from_file(network, Path(source))
    except CheckpointError as error:
        raise RunError(str(error)) from error


def _imagenet_weights(backbone: str) -> Mapping[str, Any]:
    weights = get_model_weights(backbone)[IMAGENET]
    try:
        state: Mapping[str, Any] = weights.get_state_dict(progress=False, check_hash=True)
    except (OSError, RuntimeError) as error:  # no network, no room, a damaged file
        raise RunError(
            f"the ImageNet weights of {backbone} are not here and could not be fetched"
            f" ({error}); --init FILE takes torchvision's file, --init none starts from nothing"
        ) from error
    return state


def _initialise_from_file(network: MPANet, path: Path) -> None:
    state = _torchvision_state(path)
    if state is not None:
        network.initialise_from_imagenet(state)
        return
    loaded = load_network(path).network
    for key in ("backbone", "num_patterns", "modality_alleviation"):
        expected, came = getattr(network.config, key), getattr(loaded.config, key)
        if expected != came:
            raise RunError(f"{path}: expected weights of {key} {expected}, got {came}")
    network.load_state_dict(loaded.state_dict())


def _torchvision_state(path: Path) -> Mapping[str, Any] | None:
    """The file's state dict if it is torchvision's; None for any other file."""
    if not path.is_file():
        raise RunError(f"expected a file of weights at {path}, found none")
    try:
        contents = torch.load(path, map_location="cpu", weights_only=True)
    except READING_ERRORS:
        return None  # `load_network` says what is wrong with it
    if isinstance(contents, Mapping) and TORCHVISION_KEY in contents:
        return contents
    return None
