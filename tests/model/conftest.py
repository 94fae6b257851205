"""One small exported model for the tests that run a graph.

Torch is imported where it is used: tests of files and artifacts start without it.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from model.artifact import ModelArtifact, ModelSource
from model.config import MPANetConfig

if TYPE_CHECKING:
    from model.network.mpanet import MPANet

SMALL = MPANetConfig(backbone="resnet18", image_size=(64, 32), num_patterns=2)


@pytest.fixture(scope="session")
def small_network() -> "MPANet":
    from model.network.mpanet import MPANet
    from tests.model.golden import published_state

    network = MPANet(SMALL)
    state = published_state("resnet18", num_patterns=2, seed="small")
    network.load_state_dict({name: state[name] for name in network.state_dict()})
    return network.eval()


@pytest.fixture(scope="session")
def small_artifact(
    small_network: "MPANet", tmp_path_factory: pytest.TempPathFactory
) -> ModelArtifact:
    from model.network.export import export_artifact

    directory: Path = tmp_path_factory.mktemp("models") / "small"
    source = ModelSource(recipe="none", commit="none")
    artifact, _ = export_artifact(small_network, directory, source=source)
    return artifact
