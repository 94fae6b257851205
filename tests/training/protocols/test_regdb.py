"""The RegDB protocol against the reference implementation."""

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from training.errors import ProtocolError
from training.protocols.contest import Contest, Labels, Measure
from training.protocols.embedded import embedded
from training.protocols.ranking import rank
from training.protocols.regdb import Direction, regdb
from training.protocols.variants import ReRanking

GOLDEN = Path(__file__).parents[2] / "golden"


def _golden(modality: str) -> tuple[NDArray[np.float32], Labels]:
    features = np.load(GOLDEN / "regdb_features.npz")
    persons = features[f"{modality}_person_ids"]
    ones = np.ones_like(persons)
    return features[f"{modality}_embeddings"], Labels(persons, ones, ones)


def _contest(direction: Direction, measure: Measure = "cosine") -> Contest:
    visible, thermal = _golden("visible")[1], _golden("thermal")[1]
    return regdb(visible, thermal, direction=direction, measure=measure)


@pytest.mark.parametrize("direction", ["thermal-to-visible", "visible-to-thermal"])
def test_figures_agree_with_the_reference(direction: Direction) -> None:
    """Within 1e-3 percent of `golden/regdb_expected.json`, plain and re-ranked.

    Un-normalised Euclidean distance, and neighbours among queries and gallery, as published.
    """
    expected = json.loads((GOLDEN / "regdb_expected.json").read_text())
    query, _, gallery = direction.split("-")
    outcomes = rank(
        _contest(direction, "euclidean"),
        embedded(_golden(query)[0], query),
        embedded(_golden(gallery)[0], gallery),
        [None, ReRanking()],
    )
    for outcome, variant in zip(outcomes, ("plain", "reranked"), strict=True):
        found = [getattr(outcome.trials[0], column) for column in expected["columns"]]
        published = expected[f"{direction.replace('-', '_')}_{variant}"]
        np.testing.assert_allclose(found, published, atol=1e-3, rtol=0)


def test_cosine_does_not_depend_on_length() -> None:
    thermal, visible = _golden("thermal")[0], embedded(_golden("visible")[0], "visible")
    contest = _contest("thermal-to-visible")
    (one,) = rank(contest, embedded(thermal, "thermal"), visible)
    (other,) = rank(contest, embedded(thermal * 8, "thermal"), visible)
    assert one.trials == other.trials


def test_an_empty_set_is_refused() -> None:
    visible = _golden("visible")[1]
    empty = visible.rows(np.array([], dtype=np.int64))
    with pytest.raises(ProtocolError, match="0 queries and 200 gallery images"):
        regdb(visible, empty, direction="thermal-to-visible")
