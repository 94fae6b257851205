"""A model artifact of a few kilobytes that ONNX Runtime really runs."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from model.artifact import ModelArtifact, write_artifact
from model.preprocessing import PreprocessingConfig
from tests.service.fakes import CONFIG

OPSET = 17


def write_tiny_artifact(directory: Path) -> ModelArtifact:
    """Write the network of `TinyEncoder`: the embedding is nearly the normalised input."""
    height, width = CONFIG.image_size
    rows, columns = CONFIG.map_size
    weights = np.full((CONFIG.num_patterns, 3, 16, 16), 1 / 768, np.float32)
    nodes = [
        helper.make_node("Add", ["image", "little"], ["shifted"]),  # zeros have a direction too
        helper.make_node("Flatten", ["shifted"], ["flat"], axis=1),
        helper.make_node("LpNormalization", ["flat"], ["embedding"], axis=1, p=2),
        helper.make_node("Conv", ["image", "weights"], ["scores"], strides=[16, 16]),
        helper.make_node("Sigmoid", ["scores"], ["pattern_maps"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, height, width])],
        [
            _output("embedding", [CONFIG.embedding_dim]),
            _output("pattern_maps", [CONFIG.num_patterns, rows, columns]),
        ],
        [
            numpy_helper.from_array(weights, "weights"),
            numpy_helper.from_array(np.asarray(0.01, np.float32), "little"),
        ],
    )
    network = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    onnx.checker.check_model(network)
    return write_artifact(
        directory,
        network.SerializeToString(),
        config=CONFIG,
        preprocessing=PreprocessingConfig(),
    )


def _output(name: str, shape: list[int]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", *shape])
