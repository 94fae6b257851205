"""Files of weights: ours, Lightning's of ours, and the published MPANet state dict.

Owns reading them strictly (every key accounted for, shapes and values checked) and writing ours.
A file carries its configuration; the published format has none, so that backbone and number of
patterns are read off its keys and shapes, and the image size is given by the caller.
"""

import pickle
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import ValidationError
from torch import Tensor

from model.config import BackboneName, MPANetConfig, first_complaint
from model.durable_files import write_durably
from model.errors import CheckpointError
from model.network.mpanet import MPANet, check_keys_and_shapes
from model.preprocessing import PreprocessingConfig

FORMAT = "mpanet-checkpoint"
VERSION = 1
PUBLISHED_IMAGE_SIZE = (384, 128)
# Classifiers and their exponential means: needed to train, not to embed.
HEAD_KEYS = frozenset(
    {
        "classifier.weight",
        "visible_classifier.weight",
        "infrared_classifier.weight",
        "visible_classifier_.weight",
        "infrared_classifier_.weight",
    }
)
READING_ERRORS = (
    pickle.UnpicklingError,
    RuntimeError,
    OSError,
    EOFError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    ArithmeticError,
    ImportError,
    MemoryError,
    struct.error,
)


@dataclass(frozen=True)
class LoadedNetwork:
    """A network in evaluation mode and what its file says about it.

    `unused` names the keys of the file that an embedding does not need.
    """

    network: MPANet
    preprocessing: PreprocessingConfig
    source: dict[str, Any]
    kind: Literal["mpanet", "lightning", "published"]
    unused: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Contents:
    """A file of weights, taken apart but not yet checked against a network."""

    kind: Literal["mpanet", "lightning", "published"]
    state: Mapping[str, Tensor]
    config: MPANetConfig
    preprocessing: PreprocessingConfig
    source: dict[str, Any]
    unused: tuple[str, ...]


def save_network(
    path: Path,
    network: MPANet,
    *,
    preprocessing: PreprocessingConfig | None = None,
    source: Mapping[str, Any] | None = None,
    heads: Mapping[str, Tensor] | None = None,
) -> None:
    """Write a checkpoint of ours, replacing `path` at once.

    `source` says where the weights come from (plain values: recipe, commit, seed); `heads` are
    tensors that training wants to keep beside the network.
    """
    contents = {
        "format": FORMAT,
        "version": VERSION,
        "config": network.config.model_dump(mode="json"),
        "preprocessing": (preprocessing or PreprocessingConfig()).model_dump(mode="json"),
        "network": network.state_dict(),
        "source": dict(source or {}),
        "heads": dict(heads or {}),
    }
    write_durably(path, lambda file: torch.save(contents, file))


def load_network(path: Path, image_size: tuple[int, int] | None = None) -> LoadedNetwork:
    """Read any of the three kinds of files into a network in evaluation mode, float32, CPU.

    `image_size` (H, W) overrides the size in the file; a published one has none: 384x128.

    Raises:
        CheckpointError: the file is missing or unreadable, holds other keys, shapes or values
            than the network; the message names the file and the key.
    """
    contents = _take_apart(read_contents(path), path, image_size)
    network = MPANet(contents.config)
    where = str(path)
    expected = {name: tensor.shape for name, tensor in network.state_dict().items()}
    check_keys_and_shapes(expected, contents.state, where=where)
    for name, tensor in contents.state.items():
        if not torch.isfinite(tensor).all():
            raise CheckpointError(f"{where}: {name} holds values that are not finite")
    network.load_state_dict(contents.state)
    network.eval()
    return LoadedNetwork(
        network, contents.preprocessing, contents.source, contents.kind, contents.unused
    )


def read_contents(path: Path) -> Mapping[str, Any]:
    """What a file of weights holds, by name; nothing is known of its values yet.

    Raises:
        CheckpointError: the file is missing, unreadable or holds something else.
    """
    if not path.is_file():
        raise CheckpointError(f"expected a file of weights at {path}, found none")
    try:
        contents = torch.load(path, map_location="cpu", weights_only=True)
    except READING_ERRORS as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{path} is no checkpoint, or a damaged one: {reason}") from error
    if not isinstance(contents, Mapping) or not all(isinstance(key, str) for key in contents):
        raise CheckpointError(
            f"{path}: expected a state dict or a checkpoint, got a {type(contents).__name__}"
        )
    return contents


def _take_apart(
    contents: Mapping[str, Any], path: Path, image_size: tuple[int, int] | None
) -> _Contents:
    """Tell the three kinds apart by their keys."""
    if contents.get("format") == FORMAT:
        return _ours(contents, path, image_size)
    if "mpanet_config" in contents:
        return _lightning(contents, path, image_size)
    return _published(contents, path, image_size)


def _ours(contents: Mapping[str, Any], path: Path, image_size: tuple[int, int] | None) -> _Contents:
    if contents.get("version") != VERSION:
        raise CheckpointError(
            f"{path}: expected version {VERSION} of {FORMAT}, got {contents.get('version')!r}"
        )
    return _Contents(
        kind="mpanet",
        state=_mapping_at(contents, "network", path),
        config=_config(_mapping_at(contents, "config", path), path, image_size),
        preprocessing=_preprocessing(contents.get("preprocessing"), path),
        source=dict(contents.get("source") or {}),
        unused=tuple(f"heads.{name}" for name in contents.get("heads") or {}),
    )


def _lightning(
    contents: Mapping[str, Any], path: Path, image_size: tuple[int, int] | None
) -> _Contents:
    """A Lightning checkpoint of ours: the module holds the net as `network`, beside its heads."""
    state = _mapping_at(contents, "state_dict", path)
    prefix = "network."
    return _Contents(
        kind="lightning",
        state={k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)},
        config=_config(_mapping_at(contents, "mpanet_config", path), path, image_size),
        preprocessing=_preprocessing(contents.get("mpanet_preprocessing"), path),
        source=dict(contents.get("mpanet_source") or {}),
        unused=tuple(name for name in state if not name.startswith(prefix)),
    )


def _published(
    contents: Mapping[str, Any], path: Path, image_size: tuple[int, int] | None
) -> _Contents:
    """The authors' state dict, bare or under `state_dict` or `model`, DataParallel or not."""
    state = contents
    for key in ("state_dict", "model"):
        if isinstance(state.get(key), Mapping):
            state = state[key]
    if state and all(name.startswith("module.") for name in state):
        state = {name.removeprefix("module."): value for name, value in state.items()}
    for name in ("backbone.conv1.weight", "spatial_attention.weight"):
        if not isinstance(state.get(name), Tensor):
            raise CheckpointError(
                f"{path}: expected a checkpoint of ours or a published MPANet state dict;"
                f" the tensor {name} is not there"
            )
    maps = state["spatial_attention.weight"].shape
    if not maps or not maps[0]:
        raise CheckpointError(
            f"{path}: expected spatial_attention.weight with one row a pattern, got {tuple(maps)}"
        )
    shape = {
        "backbone": _backbone_of(state),
        "image_size": PUBLISHED_IMAGE_SIZE,
        "num_patterns": maps[0],
    }
    config = _config(shape, path, image_size)
    heads = {name: value for name, value in state.items() if name in HEAD_KEYS}
    classes = next((value.shape[:1] for value in heads.values() if isinstance(value, Tensor)), ())
    expected = torch.Size([*classes, config.feature_dim])
    check_keys_and_shapes(dict.fromkeys(heads, expected), heads, where=str(path))
    return _Contents(
        kind="published",
        state={name: value for name, value in state.items() if name not in HEAD_KEYS},
        config=config,
        preprocessing=PreprocessingConfig(),
        source={},
        unused=tuple(sorted(heads)),
    )


def _backbone_of(state: Mapping[str, Any]) -> BackboneName:
    """Bottleneck blocks have a third convolution; 34 layers have six blocks in stage 3."""
    if "backbone.layer1.0.conv3.weight" in state:
        return "resnet50"
    return "resnet34" if "backbone.layer3.5.conv1.weight" in state else "resnet18"


def _mapping_at(contents: Mapping[str, Any], key: str, path: Path) -> Mapping[str, Any]:
    value = contents.get(key)
    if not isinstance(value, Mapping):
        raise CheckpointError(f"{path}: expected a table {key!r}, got a {type(value).__name__}")
    return value


def _config(
    shape: Mapping[str, Any], path: Path, image_size: tuple[int, int] | None
) -> MPANetConfig:
    if image_size is not None:
        shape = {**shape, "image_size": image_size}
    try:
        config = MPANetConfig.model_validate(shape)
    except ValidationError as error:
        raise CheckpointError(f"{path}: {first_complaint(error)}") from error
    if config.projected_dim is not None:
        raise CheckpointError(
            f"{path}: expected the config of a network, got projected_dim {config.projected_dim}:"
            " a projection belongs to an artifact, made by `mpanet export --project`"
        )
    return config


def _preprocessing(values: Any, path: Path) -> PreprocessingConfig:
    try:
        return PreprocessingConfig.model_validate(values or {})
    except ValidationError as error:
        raise CheckpointError(f"{path}: preprocessing: {first_complaint(error)}") from error
