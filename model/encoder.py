"""Images to embeddings: an artifact on ONNX Runtime, behind one worker thread.

The worker is part of the contract. It keeps inference off the event loop and makes `encode` safe
from any thread; on some machines OpenVINO is slower when it is driven from the main thread. Which
provider runs is `providers`; which images make a batch is the caller's business.
"""

import asyncio
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.artifact import ModelArtifact
from model.config import MPANetConfig
from model.errors import ArtifactError, ProviderError
from model.preprocessing import to_input
from model.providers import (
    LARGEST_BATCH,
    RUNTIME_ERRORS,
    OpenSession,
    open_session,
)

OUTPUT_NAMES = ["embedding", "pattern_maps"]


@dataclass(frozen=True)
class Encoded:
    """What the network says about N images.

    embedding: (N, D) float32, each row of length 1. pattern_maps: (N, P, h, w) float32 in [0, 1].
    """

    embedding: NDArray[np.float32]
    pattern_maps: NDArray[np.float32]


class Encoder:
    """A model, open on one execution provider. Thread-safe; close it when done.

    Attributes:
        artifact: the model directory.
        provider: name of the provider in use: `cuda`, `tensorrt`, `openvino` or `cpu`.
        precision: what it computes in: `fp32`, `tf32`, `bf16` or `fp16`.
    """

    def __init__(self, artifact: ModelArtifact, opened: OpenSession) -> None:
        self.artifact = artifact
        self.provider = opened.choice.name
        self.precision = opened.choice.precision
        self._session = opened.session
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="encoder")

    @classmethod
    def open(
        cls,
        artifact: ModelArtifact | Path,
        *,
        provider: str = "auto",
        precision: str | None = None,
        threads: int | None = None,
        warm_batch_sizes: Sequence[int] = (1, 4, 8),
    ) -> "Encoder":
        """Open a model and run each of `warm_batch_sizes` once, so that first callers don't wait.

        Raises:
            ArtifactError: the directory does not match its manifest, or its graph not its config.
            ProviderError: the provider is not there or does not start.
        """
        if not isinstance(artifact, ModelArtifact):
            artifact = ModelArtifact.load(artifact)
        opened = open_session(
            artifact.onnx_path,
            artifact.config,
            requested=provider,
            precision=precision,
            threads=threads,
        )
        _check_graph(opened.session, artifact)
        encoder = cls(artifact, opened)
        for size in warm_batch_sizes:
            encoder.encode(np.zeros((size, 3, *artifact.config.image_size), np.float32))
        return encoder

    @property
    def model_id(self) -> str:
        """Content hash of the model: embeddings of two ids never meet."""
        return self.artifact.model_id

    @property
    def config(self) -> MPANetConfig:
        """Shape of the network."""
        return self.artifact.config

    @property
    def embedding_dim(self) -> int:
        """Length D of an embedding."""
        return self.config.embedding_dim

    def prepare(self, image: Image.Image) -> NDArray[np.float32]:
        """Turn an RGB image into one input: float32 (3, H, W), by the artifact's preprocessing."""
        return to_input(image, self.config.image_size, self.artifact.preprocessing)

    def encode(self, images: NDArray[np.float32]) -> Encoded:
        """Embed prepared images (N, 3, H, W) float32, N from 0, on the worker; big N in parts.

        Raises:
            ValueError: another shape or dtype, or values that are not finite.
            ProviderError: the runtime failed, or the encoder is closed.
        """
        return self._submit(images).result()

    async def encode_async(self, images: NDArray[np.float32]) -> Encoded:
        """`encode`, awaited; the event loop goes on meanwhile."""
        return await asyncio.wrap_future(self._submit(images))

    def close(self) -> None:
        """Finish what was submitted and let the worker go. May be called twice."""
        self._worker.shutdown(wait=True)

    def __enter__(self) -> "Encoder":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _submit(self, images: NDArray[np.float32]) -> Future[Encoded]:
        self._check_images(images)
        try:
            return self._worker.submit(self._run, images)
        except RuntimeError as error:  # the executor was shut down
            raise ProviderError(f"the encoder of model {self.model_id} is closed") from error

    def _check_images(self, images: NDArray[np.float32]) -> None:
        height, width = self.config.image_size
        if images.ndim != 4 or images.shape[1:] != (3, height, width):
            raise ValueError(
                f"expected images of shape (N, 3, {height}, {width}), got {images.shape}"
            )
        if images.dtype != np.float32:
            raise ValueError(f"expected float32 images, got {images.dtype}")
        if not np.isfinite(images).all():
            raise ValueError("expected finite images, got NaN or infinity")

    def _run(self, images: NDArray[np.float32]) -> Encoded:
        parts = [
            self._run_part(images[start : start + LARGEST_BATCH])
            for start in range(0, len(images), LARGEST_BATCH)
        ]
        if not parts:
            return Encoded(
                np.empty((0, self.embedding_dim), np.float32),
                np.empty((0, self.config.num_patterns, *self.config.map_size), np.float32),
            )
        embeddings, pattern_maps = zip(*parts, strict=True)
        return Encoded(np.concatenate(embeddings), np.concatenate(pattern_maps))

    def _run_part(
        self, images: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        try:
            embedding, pattern_maps = self._session.run(OUTPUT_NAMES, {"image": images})
        except RUNTIME_ERRORS as error:
            raise ProviderError(
                f"provider {self.provider} failed on {len(images)} images: {error}"
            ) from error
        if not np.isfinite(embedding).all():
            raise ProviderError(
                f"provider {self.provider} at {self.precision} gave an embedding that is not finite"
            )
        return embedding, pattern_maps


def _check_graph(session: Any, artifact: ModelArtifact) -> None:
    """The graph's inputs and outputs must be those of the manifest's config."""
    config = artifact.config
    expected = {
        "image": (3, *config.image_size),
        "embedding": (config.embedding_dim,),
        "pattern_maps": (config.num_patterns, *config.map_size),
    }
    found = {
        value.name: tuple(value.shape[1:])
        for value in (*session.get_inputs(), *session.get_outputs())
    }
    if found != expected:
        raise ArtifactError(
            f"{artifact.onnx_path}: expected inputs and outputs {expected} after the batch"
            f" dimension, got {found}"
        )
