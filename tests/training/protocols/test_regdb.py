"""The RegDB protocol against the reference implementation."""

import json
from pathlib import Path

import numpy as np
import pytest

from training.errors import ProtocolError
from training.protocols.embedded import EmbeddedSet
from training.protocols.regdb import Direction, evaluate_regdb

GOLDEN = Path(__file__).parents[2] / "golden"


def _golden(modality: str) -> EmbeddedSet:
    features = np.load(GOLDEN / "regdb_features.npz")
    persons = features[f"{modality}_person_ids"]
    ones = np.ones_like(persons)
    return EmbeddedSet(features[f"{modality}_embeddings"], persons, ones, ones)


@pytest.mark.parametrize("direction", ["thermal-to-visible", "visible-to-thermal"])
def test_figures_agree_with_the_reference(direction: Direction) -> None:
    """Within 1e-3 percent of `golden/regdb_expected.json`, plain, un-normalised Euclidean."""
    expected = json.loads((GOLDEN / "regdb_expected.json").read_text())
    result = evaluate_regdb(
        _golden("visible"), _golden("thermal"), direction=direction, measure="euclidean"
    )
    found = [getattr(result.mean, column) for column in expected["columns"]]
    key = f"{direction.replace('-', '_')}_plain"
    np.testing.assert_allclose(found, expected[key], atol=1e-3, rtol=0)


def test_cosine_does_not_depend_on_length() -> None:
    thermal, visible = _golden("thermal"), _golden("visible")
    longer = EmbeddedSet(
        thermal.embeddings * 7, thermal.person_ids, thermal.camera_ids, thermal.image_numbers
    )
    assert evaluate_regdb(visible, thermal, direction="thermal-to-visible") == evaluate_regdb(
        visible, longer, direction="thermal-to-visible"
    )


def test_an_empty_set_is_refused() -> None:
    visible = _golden("visible")
    empty = visible.rows(np.array([], dtype=np.int64))
    with pytest.raises(ProtocolError, match="200 visible and 0 thermal"):
        evaluate_regdb(visible, empty, direction="thermal-to-visible")
