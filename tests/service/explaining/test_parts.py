"""What each pattern adds to a similarity, by hand."""

import numpy as np
import pytest

from model.config import MPANetConfig
from service.explaining.parts import pattern_parts

CONFIG = MPANetConfig(backbone="resnet18", image_size=(32, 32), num_patterns=2)  # 3 x 512


def test_the_parts_are_the_sums_of_the_blocks() -> None:
    one, other = np.zeros(3 * 512), np.zeros(3 * 512)
    one[0], other[0] = 0.5, 0.5
    one[511], other[511] = 0.5, -0.25
    one[600], other[600] = 0.5, 0.5
    one[1535], other[1535] = 0.5, 0.75
    parts = pattern_parts(one * other, CONFIG)
    assert parts is not None
    assert [(part.pattern, part.similarity) for part in parts] == [
        ("pattern_1", 0.125),
        ("pattern_2", 0.25),
        ("global", 0.375),
    ]
    assert sum(part.similarity for part in parts) == pytest.approx(one @ other)


def test_a_projection_has_no_parts() -> None:
    projected = CONFIG.model_copy(update={"projected_dim": 100})
    assert pattern_parts(np.ones(100), projected) is None
