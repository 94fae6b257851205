"""Inner products of half-precision rows against NumPy in float64."""

import numpy as np
import pytest
from numpy.typing import NDArray

from gallery_index.index.half_precision import rounding_error, similarities

DIM = 14_336


def _unit_rows(count: int) -> NDArray[np.float16]:
    rows = np.random.default_rng(0).standard_normal((count, DIM), dtype=np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows.astype(np.float16)


def test_products_are_those_of_float64_to_a_millionth() -> None:
    rows = _unit_rows(40)
    query = rows[3].astype(np.float32)
    expected = rows.astype(np.float64) @ query.astype(np.float64)
    assert np.abs(similarities(query, rows) - expected).max() < 1e-6 < rounding_error(DIM)


def test_rows_may_lie_apart_by_any_number_of_bytes() -> None:
    rows = _unit_rows(9)
    file = np.full((9, 24 + 2 * DIM), 255, np.uint8)
    file[:, 24:] = rows.view(np.uint8)
    query = rows[1].astype(np.float32)
    apart = file[:, 24:].view(np.float16)
    assert not apart.flags.c_contiguous
    assert similarities(query, apart).tolist() == similarities(query, rows).tolist()


def test_views_backwards_and_across_are_read_as_they_stand() -> None:
    rows = _unit_rows(5)
    query = rows[1].astype(np.float32)
    forwards = similarities(query, rows).tolist()
    assert similarities(query, rows[::-1]).tolist() == forwards[::-1]
    assert similarities(query, np.asfortranarray(rows)).tolist() == forwards
    assert similarities(query, rows[2:3]).tolist() == forwards[2:3]
    assert similarities(query, rows[:0]).tolist() == []


def test_a_query_of_another_type_or_size_is_refused() -> None:
    rows = _unit_rows(1)
    with pytest.raises(ValueError, match="expected a float32 query"):
        similarities(rows[0].astype(np.float64), rows)
    with pytest.raises(ValueError, match=r"\(14336,\)"):
        similarities(rows[0].astype(np.float32), rows[:, 1:])
