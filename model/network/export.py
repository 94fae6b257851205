"""A network to an artifact: the ONNX graph, its proof against torch, the directory.

Nothing is left behind where the graph and the network disagree. How the graph is made is `graph`.
"""

from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import nn

from model.artifact import (
    ModelArtifact,
    ModelFigures,
    ModelSource,
    refuse_existing,
    write_artifact,
)
from model.config import MPANetConfig
from model.errors import ExportError
from model.network.graph import ExportedGraph, WeightsPrecision, serialise, trace
from model.network.mpanet import MPANet
from model.preprocessing import PreprocessingConfig

CHECKED_BATCH_SIZES = (1, 5)


@dataclass(frozen=True)
class Agreement:
    """How far ONNX Runtime (CPU, fp32) is from torch: the worst over the checked batches.

    embedding, pattern_maps: largest absolute difference of a value; cosine: smallest of an image.
    """

    embedding: float
    pattern_maps: float
    cosine: float

    def within(self, tolerance: "Agreement") -> bool:
        """No worse than `tolerance` in any of the three; NaN is worse."""
        return (
            self.embedding <= tolerance.embedding
            and self.pattern_maps <= tolerance.pattern_maps
            and self.cosine >= tolerance.cosine
        )


TOLERANCES: dict[WeightsPrecision, Agreement] = {
    "fp32": Agreement(embedding=1e-5, pattern_maps=1e-4, cosine=0.999999),
    "fp16": Agreement(embedding=1e-3, pattern_maps=2e-2, cosine=0.9999),
}


def export_artifact(
    network: MPANet,
    directory: Path,
    *,
    preprocessing: PreprocessingConfig | None = None,
    projection: NDArray[np.float32] | None = None,
    weights_precision: WeightsPrecision = "fp32",
    metrics: ModelFigures | None = None,
    source: ModelSource | None = None,
) -> tuple[ModelArtifact, Agreement]:
    """Write `network` as a new model directory, after checking the graph against torch.

    With `weights_precision` fp16 the stored weights take half the room; the graph still computes
    in fp32. `projection` (feature_dim, dim) float32 shortens the embedding inside the graph; the
    network itself is left as it is, in whatever mode and on whatever device.

    Raises:
        ExportError: `directory` exists, the projection does not fit the features, the graph
            disagrees with the network, or is too large, or the metrics are another model's.
    """
    refuse_existing(directory)
    graph = ExportedGraph(deepcopy(network).float().cpu(), projection).eval()
    content = serialise(trace(graph, network.config.image_size), weights_precision)
    agreement = compare(content, graph, network.config.image_size)
    if not agreement.within(TOLERANCES[weights_precision]):
        raise ExportError(
            f"the ONNX graph disagrees with the network: expected {TOLERANCES[weights_precision]},"
            f" got {agreement}; nothing was written"
        )
    artifact = write_artifact(
        directory,
        content,
        config=_config_with(network.config, projection),
        preprocessing=preprocessing or PreprocessingConfig(),
        metrics=metrics,
        source=source,
    )
    return artifact, agreement


def _config_with(config: MPANetConfig, projection: NDArray[np.float32] | None) -> MPANetConfig:
    """The config of what was exported: a network has no projection, an artifact may."""
    dim = None if projection is None else projection.shape[1]
    return MPANetConfig.model_validate(config.model_dump() | {"projected_dim": dim})


def compare(content: bytes, graph: nn.Module, image_size: tuple[int, int]) -> Agreement:
    """Run a serialised graph and its torch module on the same images, at each batch size."""
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    worst = []
    for size in CHECKED_BATCH_SIZES:
        images = np.random.default_rng(size).standard_normal((size, 3, *image_size), np.float32)
        with torch.inference_mode():
            expected, expected_maps = (t.numpy() for t in graph(torch.from_numpy(images)))
        embedding, maps = session.run(["embedding", "pattern_maps"], {"image": images})
        worst.append(
            Agreement(
                embedding=float(np.abs(embedding - expected).max()),
                pattern_maps=float(np.abs(maps - expected_maps).max(initial=0.0)),
                cosine=float(_cosines(embedding, expected).min()),
            )
        )
    return Agreement(
        embedding=float(np.max([each.embedding for each in worst])),
        pattern_maps=float(np.max([each.pattern_maps for each in worst])),
        cosine=float(np.min([each.cosine for each in worst])),
    )


def _cosines(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float64]:
    """Cosine of each row of one with the same row of the other, in float64."""
    a, b = one.astype(np.float64), other.astype(np.float64)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    cosines: NDArray[np.float64] = (a * b).sum(1) / lengths
    return cosines
