"""The ONNX graph of a network: how it is traced, and how its weights are stored.

The contract: input `image` float32 (N, 3, H, W), normalised; outputs `embedding` float32 (N, D) of
length 1 and `pattern_maps` float32 (N, P, h, w); only N is free. A projection, where there is one,
lies inside the graph: whoever runs it sees shorter embeddings and nothing else.
"""

from typing import Literal
from warnings import catch_warnings, simplefilter

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from model.errors import ExportError
from model.network.mpanet import MPANet

WeightsPrecision = Literal["fp16", "fp32"]

OPSET = 18
LARGEST_FILE = 2 * 1024**3  # protobuf's limit for a file without external data
SMALLEST_ROUNDED = 4096  # elements; biases and scales stay exact, they weigh nothing
FP16_MAX = 65504.0
TINY = 1e-12


class ExportedGraph(nn.Module):
    """The network as an artifact has it: the embedding scaled to length 1, the pattern maps.

    `projection` (D, dim) float32 shortens the network's features x of length D to x @ projection
    before they are scaled.

    Raises:
        ExportError: the projection is for features of another length, or not finite.
    """

    def __init__(self, network: MPANet, projection: NDArray[np.float32] | None = None) -> None:
        super().__init__()
        self.network = network
        self.projection: Tensor | None = None
        if projection is not None:
            _check(projection, network.config.feature_dim)
            self.projection = nn.Parameter(torch.from_numpy(projection), requires_grad=False)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        features = self.network(image)
        embedding = features.embedding  # (N, D)
        if self.projection is not None:
            embedding = embedding @ self.projection  # (N, D) -> (N, dim)
        length = torch.linalg.vector_norm(embedding, dim=1, keepdim=True)
        return embedding / length.clamp_min(TINY), features.pattern_maps


def _check(projection: NDArray[np.float32], feature_dim: int) -> None:
    if projection.ndim != 2 or not 1 <= projection.shape[1] <= projection.shape[0] == feature_dim:
        raise ExportError(
            f"expected a projection (D, dim) of D = {feature_dim:,} features to at most as many"
            f" dimensions, got shape {projection.shape}"
        )
    if projection.dtype != np.float32 or not np.isfinite(projection).all():
        raise ExportError(f"expected a finite float32 projection, got {projection.dtype} values")


def trace(graph: nn.Module, image_size: tuple[int, int]) -> onnx.ModelProto:
    """Export a module on images (N, 3, H, W) with N free."""
    with catch_warnings():
        simplefilter("ignore")  # the exporter's own deprecations
        program = torch.onnx.export(
            graph,
            (torch.zeros(2, 3, *image_size),),
            dynamo=True,
            opset_version=OPSET,
            input_names=["image"],
            output_names=["embedding", "pattern_maps"],
            dynamic_shapes=({0: torch.export.Dim("N", min=1, max=4096)},),
            verbose=False,
        )
    assert program is not None
    model: onnx.ModelProto = program.model_proto
    _strip(model)
    return model


def serialise(model: onnx.ModelProto, weights_precision: WeightsPrecision) -> bytes:
    """The bytes of `model.onnx`, one file; the same graph always gives the same bytes.

    Raises:
        ExportError: 2 GiB or more, or a weight beyond fp16.
    """
    if weights_precision == "fp16":
        _store_weights_as_fp16(model)
    if model.ByteSize() >= LARGEST_FILE:
        raise ExportError(f"the graph has {model.ByteSize():,} bytes; one file holds 2 GiB")
    onnx.checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def _strip(model: onnx.ModelProto) -> None:
    """Drop stack traces and the like: they name files of this machine and change the hash."""
    del model.metadata_props[:]
    del model.graph.metadata_props[:]
    del model.graph.value_info[:]
    model.graph.doc_string = ""
    for part in (*model.graph.node, *model.graph.input, *model.graph.output):
        part.doc_string = ""
        del part.metadata_props[:]
    for tensor in model.graph.initializer:
        tensor.doc_string = ""
        del tensor.metadata_props[:]


def _store_weights_as_fp16(model: onnx.ModelProto) -> None:
    """Round each large float32 weight to fp16, and cast it back at the head of the graph.

    Runtimes fold the casts as they load, so that the speed is that of float32 weights.
    """
    graph = model.graph
    casts = []
    for tensor in graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims) < SMALLEST_ROUNDED:
            continue
        values = numpy_helper.to_array(tensor)
        if np.abs(values).max() > FP16_MAX:
            raise ExportError(f"the weight {tensor.name} does not fit fp16: use fp32 weights")
        name, stored = tensor.name, f"{tensor.name}.fp16"
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), stored))
        casts.append(helper.make_node("Cast", [stored], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
