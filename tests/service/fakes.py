"""A tiny encoder, rendered crops, and a client that checks every error it sees."""

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.config import MPANetConfig
from model.preprocessing import PreprocessingConfig, read_image, to_input

MODEL_ID = "tiny-model"
CONFIG = MPANetConfig(backbone="resnet18", image_size=(32, 32), num_patterns=5)


@dataclass(frozen=True)
class TinyEncoding:
    """Embeddings, and as many pattern maps of 2 x 2 as the network has."""

    embedding: NDArray[np.float32]

    @property
    def pattern_maps(self) -> NDArray[np.float32]:
        """Map p of crop n is p / 10 everywhere, but 1 in its first place."""
        maps = np.arange(CONFIG.num_patterns, dtype=np.float32)[None, :, None, None] / 10
        maps = np.tile(maps, (len(self.embedding), 1, *CONFIG.map_size))
        maps[:, :, 0, 0] = 1
        return maps.astype(np.float32)


class TinyEncoder:
    """Embeds a crop as its own 3 x 32 x 32 = 6 x 512 numbers, normalised."""

    model_id = MODEL_ID
    config = CONFIG
    provider = "TinyProvider"
    precision = "fp32"

    def __init__(self) -> None:
        self.batch_sizes: list[int] = []

    def prepare(self, image: Image.Image) -> NDArray[np.float32]:
        return to_input(image, self.config.image_size, PreprocessingConfig())

    def encode(self, batch: NDArray[np.float32]) -> TinyEncoding:
        self.batch_sizes.append(len(batch))
        rows = batch.reshape(len(batch), -1).astype(np.float32)
        return TinyEncoding(rows / np.linalg.norm(rows, axis=1, keepdims=True))


class ProjectedEncoder(TinyEncoder):
    """Keeps the first 100 numbers alone: a length that no number of blocks divides."""

    config = CONFIG.model_copy(update={"projected_dim": 100})

    def encode(self, batch: NDArray[np.float32]) -> TinyEncoding:
        rows = super().encode(batch).embedding[:, :100]
        return TinyEncoding(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def pixels(seed: int) -> NDArray[np.uint8]:
    """Return a 32 x 32 crop of blocky noise, the size of the input: each seed another person."""
    blocks = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return blocks.repeat(4, axis=0).repeat(4, axis=1)


def crop(seed: int, format: str = "PNG") -> bytes:
    """Return the crop of a seed as an image file."""
    return encoded(pixels(seed), format)


def embedded_by(encoder: TinyEncoder, upload: bytes) -> NDArray[np.float32]:
    """Return the embedding of an image file, (D,)."""
    embedding: NDArray[np.float32] = encoder.encode(
        encoder.prepare(read_image(upload))[None]
    ).embedding[0]
    return embedding


def encoded(image: NDArray[np.uint8], format: str = "PNG") -> bytes:
    """Return pixels as an image file."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format)
    return buffer.getvalue()
