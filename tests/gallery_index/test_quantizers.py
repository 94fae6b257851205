"""Which quantizer a gallery gets, what its codes say and how far its estimates are off."""

import numpy as np
import pytest
from numpy.typing import NDArray

from gallery_index.index.quantizer_choice import EXACT_BELOW, choose, finer
from gallery_index.index.quantizers import ExactFp16, HadamardRaBitQ, PcaInt8, Quantizer, from_bytes
from tests.gallery_index.embeddings import flat, structured

DIM = 512
MANY = 100_000


def _ladder(sample: NDArray[np.float16]) -> list[Quantizer]:
    rungs: list[Quantizer] = [choose(sample, MANY)]
    while (following := finer(rungs[-1], sample)) is not None:
        rungs.append(following)
    return rungs


def _errors(quantizer: Quantizer, rows: NDArray[np.float16]) -> NDArray[np.float64]:
    """Exact similarity less the estimate, for every pair: the codes searched by FAISS."""
    queries = rows.astype(np.float32)
    index = quantizer.new_index()
    index.add_sa_codes(quantizer.encode(rows))
    found, labels = index.search(quantizer.prepare(queries), len(rows))
    estimates = np.empty((len(rows), len(rows)))
    np.put_along_axis(estimates, labels, found, axis=1)
    errors: NDArray[np.float64] = rows.astype(np.float64) @ rows.T.astype(np.float64) - estimates
    return errors


def test_a_small_gallery_is_exact() -> None:
    assert choose(structured(100, DIM), EXACT_BELOW - 1).kind == "exact-fp16"


def test_few_dimensions_are_enough_for_vectors_that_few_describe() -> None:
    assert choose(structured(2000, DIM), MANY).kind == "pca128-int8"


def test_vectors_without_structure_get_a_bit_a_dimension() -> None:
    assert choose(flat(2000, DIM), MANY).kind == "hr-rabitq"


def test_the_ladder_goes_up_to_exact_and_ends() -> None:
    kinds = [quantizer.kind for quantizer in _ladder(structured(2000, DIM))]
    widths = [kind for kind in kinds if kind.startswith("pca")]
    assert kinds == [*widths, "hr-rabitq", "exact-fp16"]
    assert widths[-2:] == ["pca128-int8", "pca256-int8"]


@pytest.mark.parametrize("seed", [5, 6])
def test_a_margin_holds_for_all_but_one_pair_in_ten_thousand(seed: int) -> None:
    rows = structured(600, DIM, seed=seed)
    for quantizer in _ladder(structured(2000, DIM)):
        margins = [quantizer.margin(row) for row in rows.astype(np.float32)]
        beyond = _errors(quantizer, rows) > np.array(margins)[:, None]
        beyond[np.eye(len(rows), dtype=bool)] = False
        assert beyond.mean() < 1e-4, quantizer.kind


def test_a_margin_is_no_wider_than_three_times_what_these_pairs_need() -> None:
    rows = structured(600, DIM, seed=5)
    for quantizer in _ladder(structured(2000, DIM))[:-1]:
        errors = _errors(quantizer, rows)[~np.eye(len(rows), dtype=bool)]
        needed = np.quantile(errors, 1 - 1e-4)
        assert quantizer.margin(rows[0].astype(np.float32)) < 3 * needed, quantizer.kind


def test_a_query_unlike_the_sample_has_a_wider_margin() -> None:
    quantizer = choose(structured(2000, DIM, noise=0.3), MANY)
    alike, unlike = structured(1, DIM, seed=7, noise=0.3)[0], flat(1, DIM, seed=7)[0]
    usual = quantizer.margin(alike.astype(np.float32))
    assert quantizer.margin(unlike.astype(np.float32)) > 2 * usual


def test_a_sample_too_small_for_a_tail_gets_the_margin_that_no_pair_exceeds() -> None:
    sample = structured(140, DIM, noise=0.5)
    quantizer = finer(PcaInt8(np.zeros((8, DIM), np.float32), np.ones(8, np.float32), 0), sample)
    assert isinstance(quantizer, HadamardRaBitQ)  # too small for any directions, too
    rows = structured(300, DIM, seed=8, noise=0.5)
    # What no pair exceeds is the product of both distances: the measured one is that of rows.
    assert quantizer.reach == pytest.approx(
        quantizer.distances(rows.astype(np.float32)).max(), rel=0.15
    )


def test_codes_of_reduced_dimensions_say_the_projection_to_half_a_step() -> None:
    rows = structured(300, DIM, seed=9)
    quantizer = choose(structured(2000, DIM), MANY)
    assert isinstance(quantizer, PcaInt8)
    projected = rows.astype(np.float64) @ quantizer.basis.T
    off = np.abs(quantizer.decode(quantizer.encode(rows)) - projected) / quantizer.step
    assert np.mean(off <= 0.501) > 0.999


def test_every_kind_reads_back_what_it_wrote() -> None:
    rows = structured(50, DIM, seed=3)
    for quantizer in _ladder(structured(2000, DIM)):
        again = from_bytes(quantizer.to_bytes(), DIM)
        assert again.kind == quantizer.kind
        assert np.array_equal(again.encode(rows), quantizer.encode(rows))
        query = rows[0].astype(np.float32)
        assert again.margin(query) == quantizer.margin(query)


def test_a_damaged_quantizer_is_refused_at_every_truncation_and_flipped_bit() -> None:
    data = HadamardRaBitQ(8, np.zeros(8, np.float32), 0.5).to_bytes()
    for size in range(0, len(data), 37):
        with pytest.raises(ValueError, match="not a quantizer"):
            from_bytes(data[:size], 8)
    middle = data.index(b"centre.npy") + 150
    flipped = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
    with pytest.raises(ValueError, match="not a quantizer"):
        from_bytes(flipped, 8)


def test_a_quantizer_of_another_dimension_is_refused() -> None:
    with pytest.raises(ValueError, match="dimension 8, expected 16"):
        from_bytes(ExactFp16(8).to_bytes(), 16)


def test_a_code_that_rounding_turned_by_one_is_taken_for_what_it_is() -> None:
    """A coordinate halfway between two bytes may come out as either, by how BLAS sums."""
    quantizer = PcaInt8(np.eye(2, 4, dtype=np.float32), np.full(2, 1 / 21, np.float32), 0.0)
    vectors = np.array([[0.5, 0.25, 0, 0]] * 4, np.float16)  # 10.5 and 5.25 units
    codes = np.array([[138, 133], [139, 133], [140, 133], [138, 134]], np.uint8)
    assert quantizer.could_be(codes, vectors).tolist() == [True, True, False, False]


@pytest.mark.parametrize(
    "quantizer",
    [
        ExactFp16(16),
        PcaInt8(np.eye(8, 16, dtype=np.float32), np.full(8, 0.01, np.float32), 0.0),
        HadamardRaBitQ(16, np.zeros(16, np.float32), 0.5),
    ],
)
def test_other_codes_than_those_of_a_vector_are_told(quantizer: Quantizer) -> None:
    vectors = structured(8, 16).astype(np.float16)
    codes = quantizer.encode(vectors).copy()
    assert quantizer.could_be(codes, vectors).all()
    codes[3] = 0
    assert quantizer.could_be(codes, vectors).tolist() == [True, True, True, False, *[True] * 4]
