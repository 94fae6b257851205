"""Small model artifacts that ONNX Runtime really runs, each with one thing wrong with it."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from model.artifact import ModelArtifact, write_artifact
from model.config import MPANetConfig
from model.preprocessing import PreprocessingConfig
from tests.service.fakes import CONFIG

OPSET = 17
HEIGHT, WIDTH = CONFIG.image_size
ROWS, COLUMNS = CONFIG.map_size
Nodes = list[onnx.NodeProto]


def write_model(
    directory: Path,
    *,
    before: Callable[[], Nodes] = list,
    normalised: bool = True,
    scale: float = 1.0,
    little: float = 0.01,
    config: MPANetConfig = CONFIG,
    declared_dim: int = CONFIG.embedding_dim,
    batch: str | int = "N",
    preprocessing: PreprocessingConfig | None = None,
) -> ModelArtifact:
    """Write an artifact; what is not said is as it should be.

    `before`: nodes that make `fed` of `image`. `little`: a constant; another one is another model.
    """
    first = before()
    weights = np.full((CONFIG.num_patterns, 3, 16, 16), scale / 768, np.float32)
    nodes = [
        *(first or [helper.make_node("Identity", ["image"], ["fed"])]),
        helper.make_node("Add", ["fed", "little"], ["shifted"]),
        helper.make_node("Flatten", ["shifted"], ["flat"], axis=1),
        *chosen_while_it_runs(),
        helper.make_node("LpNormalization", ["chosen"], ["embedding"], axis=1, p=2)
        if normalised
        else helper.make_node("Identity", ["chosen"], ["embedding"]),
        helper.make_node("Conv", ["image", "weights"], ["scores"], strides=[16, 16]),
        helper.make_node("Sigmoid" if scale == 1 else "Relu", ["scores"], ["pattern_maps"]),
    ]
    graph = helper.make_graph(
        nodes,
        "bad",
        [value("image", [batch, 3, HEIGHT, WIDTH])],
        [
            value("embedding", [batch, declared_dim]),
            value("pattern_maps", [batch, CONFIG.num_patterns, ROWS, COLUMNS]),
        ],
        [
            numpy_helper.from_array(weights, "weights"),
            numpy_helper.from_array(np.asarray(little, np.float32), "little"),
            numpy_helper.from_array(np.asarray([-1]), "one_row"),
            numpy_helper.from_array(np.asarray(-1e9, np.float32), "lowest"),
        ],
    )
    return write_artifact(
        directory,
        serialised(graph),
        config=config,
        preprocessing=preprocessing or PreprocessingConfig(),
    )


def serialised(graph: onnx.GraphProto) -> bytes:
    opsets = [helper.make_opsetid("", OPSET)]
    content = helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
    assert isinstance(content, bytes)
    return content


def chosen_while_it_runs() -> Nodes:
    """All values, by a choice whose size nobody knows before: the declared one is believed."""
    return [
        helper.make_node("ReduceMax", ["image"], ["largest"], axes=[0], keepdims=0),
        helper.make_node("Reshape", ["largest", "one_row"], ["row"]),
        helper.make_node("Greater", ["row", "lowest"], ["every"]),
        helper.make_node("Compress", ["flat", "every"], ["chosen"], axis=1),
    ]


def not_a_number() -> Nodes:
    """0 / 0 in every value."""
    return [
        helper.make_node("Sub", ["image", "image"], ["zeros"]),
        helper.make_node("Div", ["zeros", "zeros"], ["fed"]),
    ]


def endless() -> Nodes:
    """A loop that comes to no end: its number of turns is the largest there is."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["goes_on"], ["still"]),
            helper.make_node("Sin", ["carried"], ["turned"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("goes_on", TensorProto.BOOL, []),
            value("carried", ["N", 3, HEIGHT, WIDTH]),
        ],
        [
            helper.make_tensor_value_info("still", TensorProto.BOOL, []),
            value("turned", ["N", 3, HEIGHT, WIDTH]),
        ],
    )
    turns = numpy_helper.from_array(np.asarray(2**62, np.int64))
    true = numpy_helper.from_array(np.asarray(True))
    return [
        helper.make_node("Constant", [], ["turns"], value=turns),
        helper.make_node("Constant", [], ["yes"], value=true),
        helper.make_node("Loop", ["turns", "yes", "image"], ["fed"], body=body),
    ]


def ends_the_process() -> Nodes:
    """An integer division by zero: the processor's own complaint, which ends the process."""
    return [
        helper.make_node("Cast", ["image"], ["whole"], to=TensorProto.INT32),
        helper.make_node("Sub", ["whole", "whole"], ["zeros"]),
        helper.make_node("Div", ["whole", "zeros"], ["divided"]),
        helper.make_node("Cast", ["divided"], ["fed"], to=TensorProto.FLOAT),
    ]


def of_the_batch() -> Nodes:
    """Each image minus the mean of its batch: alone it is nothing."""
    return [
        helper.make_node("ReduceMean", ["image"], ["mean"], axes=[0], keepdims=1),
        helper.make_node("Sub", ["image", "mean"], ["fed"]),
    ]


def value(name: str, shape: Sequence[str | int]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
