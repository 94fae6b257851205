"""One service for all attacks of a module: what one leaves behind, the next one finds."""

from collections.abc import Iterator

import pytest

from tests.service.hostile.victim import Victim, victim


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    with victim(tmp_path_factory.mktemp("target")) as target:
        yield target
