"""What the engine needs of a model: `CropEncoder`, which `model.encoder.Encoder` is."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.config import MPANetConfig


class Encoding(Protocol):
    """What an encoder returns for N inputs."""

    @property
    def embedding(self) -> NDArray[np.float32]:
        """float32 (N, D), L2-normalised."""

    @property
    def pattern_maps(self) -> NDArray[np.float32]:
        """float32 (N, P, h, w) in [0, 1]."""


class CropEncoder(Protocol):
    """What the service needs of `model.encoder.Encoder`; tests have a tiny one."""

    @property
    def model_id(self) -> str:
        """The content hash of the model."""

    @property
    def config(self) -> MPANetConfig:
        """The network's configuration."""

    @property
    def provider(self) -> str:
        """What runs the network, such as `CPUExecutionProvider`."""

    @property
    def precision(self) -> str:
        """The precision it runs at, such as `fp32`."""

    def prepare(self, image: Image.Image) -> NDArray[np.float32]:
        """Turn an RGB image into float32 (3, H, W)."""

    def encode(self, images: NDArray[np.float32], /) -> Encoding:
        """Embed float32 (N, 3, H, W)."""
