"""Principal directions against NumPy's singular value decomposition of the same rows."""

import numpy as np
import pytest
from numpy.typing import NDArray

from training import projection
from training.errors import ProjectionError
from training.projection import fit_pca, fit_pca_up_to

# Which side is the smaller decides the way; 0 rows or columns at most leaves iteration alone.
WAYS = {"by moment": (90, 30, 4096), "by Gram": (30, 90, 4096), "by iteration": (90, 60, 0)}


def embeddings(count: int, width: int, seed: int = 0) -> NDArray[np.float32]:
    """Rows of falling spread over mixed axes, of different lengths."""
    rng = np.random.default_rng(seed)
    spread = 0.7 ** np.arange(width)
    axes = np.linalg.qr(rng.standard_normal((width, width)))[0]
    mixed = (rng.standard_normal((count, width)) * spread) @ axes
    lengths = rng.uniform(0.5, 20, (count, 1))
    return np.asarray(mixed * lengths, dtype=np.float32)


def oracle(rows: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Shares of the squares and right singular vectors (D, rank) of the rows at length 1."""
    exact = rows.astype(np.float64)
    exact /= np.linalg.norm(exact, axis=1, keepdims=True)
    _, values, right = np.linalg.svd(exact, full_matrices=False)
    return values**2 / len(rows), right.T


@pytest.mark.parametrize("way", WAYS)
def test_directions_are_the_leading_singular_vectors(
    way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    count, width, largest_exact = WAYS[way]
    monkeypatch.setattr(projection, "LARGEST_EXACT", largest_exact)
    monkeypatch.setattr(projection, "BLOCK_ROWS", 7)
    rows = embeddings(count, width)
    shares, vectors = oracle(rows)
    fitted = fit_pca(rows, 8)
    assert fitted.matrix.dtype == np.float32
    np.testing.assert_allclose(fitted.explained_variance_ratio, shares[:8], rtol=1e-6)
    cosines = np.abs((vectors[:, :8] * fitted.matrix).sum(axis=0))
    np.testing.assert_allclose(cosines, 1.0, atol=1e-6)


@pytest.mark.parametrize("way", WAYS)
def test_columns_are_orthonormal_ordered_and_point_to_their_largest_component(
    way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    count, width, largest_exact = WAYS[way]
    monkeypatch.setattr(projection, "LARGEST_EXACT", largest_exact)
    fitted = fit_pca(embeddings(count, width), 12)
    matrix = fitted.matrix.astype(np.float64)
    np.testing.assert_allclose(matrix.T @ matrix, np.eye(12), atol=1e-6)
    assert (np.diff(fitted.explained_variance_ratio) < 0).all()
    assert (matrix.max(axis=0) > -matrix.min(axis=0)).all()


def test_iteration_narrower_than_the_embeddings_keeps_what_the_best_directions_keep(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(projection, "LARGEST_EXACT", 0)
    rng = np.random.default_rng(5)
    rows = (rng.standard_normal((300, 200)) * np.arange(1, 201) ** -0.8).astype(np.float32)
    shares, _ = oracle(rows)
    fitted = fit_pca(rows, 20)  # 57 of 200 directions are iterated
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    kept = np.square(unit @ fitted.matrix).sum() / len(rows)
    assert kept == pytest.approx(shares[:20].sum(), rel=1e-4)
    assert fitted.explained_variance_ratio.sum() == pytest.approx(kept, rel=1e-5)


def test_applying_is_a_product_scaled_to_length_1() -> None:
    rows = embeddings(40, 20)
    fitted = fit_pca(rows, 5)
    expected = rows.astype(np.float64) @ fitted.matrix
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    applied = fitted.apply(rows)
    assert applied.dtype == np.float32
    np.testing.assert_allclose(applied, expected, atol=1e-6)


def test_all_directions_together_leave_every_cosine_as_it_was() -> None:
    rows = embeddings(50, 10)
    applied = fit_pca(rows, 10).apply(rows).astype(np.float64)
    unit = rows.astype(np.float64) / np.linalg.norm(rows, axis=1, keepdims=True)
    np.testing.assert_allclose(applied @ applied.T, unit @ unit.T, atol=1e-5)


def test_what_has_no_part_in_the_directions_becomes_zero_not_nan() -> None:
    fitted = fit_pca(np.array([[1, 0, 0], [0, 2, 0], [1, 1, 0]], np.float32), 2)
    np.testing.assert_array_equal(fitted.apply(np.array([[0, 0, 3]], np.float32)), [[0, 0]])


def test_the_first_directions_of_a_fit_are_the_fit_of_fewer() -> None:
    rows = embeddings(30, 90)
    whole, few = fit_pca(rows, 10).first(4), fit_pca(rows, 4)
    np.testing.assert_allclose(whole.matrix, few.matrix, atol=1e-6)
    assert whole.dim == few.dim == 4


def test_the_same_embeddings_give_the_same_bytes() -> None:
    rows = embeddings(30, 90)
    assert fit_pca(rows, 6).matrix.tobytes() == fit_pca(rows.copy(), 6).matrix.tobytes()


def test_more_dimensions_than_the_embeddings_span_are_one_line() -> None:
    rows = embeddings(40, 20)[:6] @ np.eye(20, dtype=np.float32)
    doubled = np.concatenate([rows, 3 * rows])  # 12 rows of rank 6
    assert fit_pca_up_to(doubled, 20).dim == 6
    assert fit_pca(doubled, 6).dim == 6
    with pytest.raises(
        ProjectionError,
        match="expected at most 6 dimensions, which 12 training embeddings of 20 span, got 7",
    ):
        fit_pca(doubled, 7)


@pytest.mark.parametrize(
    ("rows", "dim", "complaint"),
    [
        (np.ones(5, np.float32), 1, r"expected embeddings \(N, D\)"),
        (np.empty((0, 5), np.float32), 1, r"got \(0, 5\)"),
        (np.ones((3, 5), np.float32), 0, "at least 1 dimension"),
        (np.array([[1, 2], [np.nan, 1]], np.float32), 1, "NaN or infinity in row 1"),
    ],
)
def test_what_cannot_be_fitted_is_one_line(
    rows: NDArray[np.float32], dim: int, complaint: str
) -> None:
    with pytest.raises(ProjectionError, match=complaint) as caught:
        fit_pca(rows, dim)
    assert "\n" not in str(caught.value)


def test_embeddings_of_nothing_span_nothing() -> None:
    with pytest.raises(ProjectionError, match="at most 0 dimensions"):
        fit_pca(np.zeros((3, 5), np.float32), 1)
