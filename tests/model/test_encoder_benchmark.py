"""The benchmark compares what it says it compares; its speeds are nobody's test."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from benchmarks.encoder import Contender, half_artifact, measure, table
from model.config import MPANetConfig
from model.encoder import Encoder
from model.network.mpanet import MPANet
from tests.model.golden import published_state

CONFIG = MPANetConfig(backbone="resnet18", image_size=(64, 32), num_patterns=2)


def test_cosine_and_ratio_refer_to_the_first_contender() -> None:
    calls: list[str] = []

    def contender(name: str, embedding: list[float]) -> Contender:
        def embed(images: NDArray[np.float32]) -> NDArray[np.float32]:
            calls.append(name)
            return np.tile(np.asarray(embedding, np.float32), (len(images), 1))

        return Contender(name, "fp32", embed)

    first, second = contender("torch", [1.0, 0.0]), contender("encoder", [0.6, 0.8])
    rows = measure([first, second], CONFIG, [1, 3], rounds=2)
    assert [(row.batch_size, row.contender) for row in rows] == [
        (1, "torch"),
        (1, "encoder"),
        (3, "torch"),
        (3, "encoder"),
    ]
    assert [row.min_cosine_to_fp32 for row in rows] == pytest.approx([1.0, 0.6, 1.0, 0.6])
    assert [rows[0].ratio_to_torch, rows[2].ratio_to_torch] == [1.0, 1.0]
    assert calls[3:7] == ["torch", "encoder", "torch", "encoder"]  # turns, not blocks
    result = {"machine": {"processor": "X"}, "rounds": 2, "rows": [vars(row) for row in rows]}
    assert table(result).splitlines()[-1].startswith("| 3 | encoder | fp32 | ")


def test_half_precision_graph_of_the_card_is_a_valid_artifact(tmp_path: Path) -> None:
    images = np.random.default_rng(0).standard_normal((2, 3, 64, 32), dtype=np.float32)
    network = MPANet(CONFIG).eval()
    state = published_state("resnet18", num_patterns=2)
    network.load_state_dict({name: state[name] for name in network.state_dict()})
    with torch.inference_mode():
        expected = network(torch.from_numpy(images)).embedding.numpy()
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    with Encoder.open(half_artifact(CONFIG, tmp_path / "half"), provider="cpu") as encoder:
        embedding = encoder.encode(images).embedding
    assert (embedding * expected).sum(1).min() > 0.999
