"""The published permutations, read as SciPy reads them, and refused where they are damaged."""

import contextlib
from pathlib import Path

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from training.errors import ProtocolError
from training.protocols.permutations import load_permutations, permutation

PUBLISHED = Path(__file__).parents[2] / "golden" / "rand_perm_cam.mat"


def cells(values: list[object]) -> np.ndarray:
    """A column of MATLAB cells."""
    column = np.empty((len(values), 1), dtype=object)
    column[:, 0] = values
    return column


def test_the_published_file_is_read_as_scipy_reads_it() -> None:
    found = load_permutations(PUBLISHED)
    cameras = loadmat(PUBLISHED)["rand_perm_cam"].ravel()
    assert [len(camera) for camera in found] == [camera.size for camera in cameras] == [333] * 6
    for ours, theirs in zip(found, cameras, strict=True):
        for table, expected in zip(ours, theirs.ravel(), strict=True):
            np.testing.assert_array_equal(table, expected)


@pytest.mark.parametrize("kind", ["uint8", "uint16", "int32", "float64"])
@pytest.mark.parametrize("compressed", [False, True])
def test_every_way_of_storing_numbers_is_read(kind: str, compressed: bool, tmp_path: Path) -> None:
    path = tmp_path / "permutations.mat"
    table = np.array([[1, 2, 3], [3, 1, 2]], dtype=kind)
    camera = cells([table, np.zeros((2, 0), kind), table[:, :1]])
    savemat(path, {"rand_perm_cam": cells([camera, camera])}, do_compression=compressed)
    found = load_permutations(path)
    assert [[person.shape for person in each] for each in found] == [[(2, 3), (2, 0), (2, 1)]] * 2
    assert permutation(found, 2, 1, 1).tolist() == [3, 1, 2]


@pytest.mark.parametrize(
    ("person", "trial", "message"),
    [(2, 0, "no image of person 2 by camera 1"), (1, 2, "2 trials; trial 3 is missing")],
)
def test_what_the_permutations_lack_is_named(person: int, trial: int, message: str) -> None:
    table = np.array([[1, 2], [2, 1]])
    with pytest.raises(ProtocolError, match=message):
        permutation([[table, np.zeros((2, 0), np.int64)]], 1, person, trial)


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ({"other": np.zeros((1, 1))}, "no variable rand_perm_cam"),
        ({"rand_perm_cam": np.zeros((2, 3))}, r"found \(2, 3\) numbers"),
        ({"rand_perm_cam": cells([np.zeros((2, 3))])}, r"found \(2, 3\) numbers"),
        ({"rand_perm_cam": cells([cells([np.array([[0.5]])])])}, "image numbers from 1"),
        ({"rand_perm_cam": "text"}, "damaged"),
        ({"rand_perm_cam": cells([cells([cells([cells([1.0])])])])}, "cells too deep"),
    ],
)
def test_a_file_of_another_shape_is_named(
    contents: dict[str, object], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "permutations.mat"
    savemat(path, contents)
    with pytest.raises(ProtocolError, match=rf"permutations\.mat: expected .*{message}"):
        load_permutations(path)


@pytest.mark.parametrize("length", [0, 100, 128, 140, 3000])
def test_a_file_that_is_cut_off_is_named(length: int, tmp_path: Path) -> None:
    path = tmp_path / "permutations.mat"
    path.write_bytes(PUBLISHED.read_bytes()[:length])
    with pytest.raises(ProtocolError, match=r"permutations\.mat: expected the permutations"):
        load_permutations(path)


def test_a_file_that_unpacks_without_end_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "permutations.mat"
    savemat(path, {"rand_perm_cam": np.zeros((1000, 1000))}, do_compression=True)
    assert path.stat().st_size < 20_000
    monkeypatch.setattr("training.protocols.mat_file.MAX_BYTES", 100_000)
    with pytest.raises(ProtocolError, match="unpacks to more than 100000 bytes"):
        load_permutations(path)


def test_any_flipped_byte_is_refused_or_read(tmp_path: Path) -> None:
    """Damage is named or harmless: no other exception, whatever byte it hits."""
    whole = PUBLISHED.read_bytes()
    path = tmp_path / "permutations.mat"
    named = 0
    for place in range(100, len(whole), 61):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        with contextlib.suppress(ProtocolError):
            load_permutations(path)
            continue
        named += 1
    assert named > 50  # the compressed part has a checksum


def test_any_flipped_byte_of_a_file_without_checksum_is_refused_or_read(tmp_path: Path) -> None:
    path = tmp_path / "permutations.mat"
    person = np.array([[1, 2, 3], [3, 1, 2]], dtype=np.uint8)
    savemat(path, {"rand_perm_cam": cells([cells([person, person])])})
    whole = path.read_bytes()
    named = 0
    for place in range(100, len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        with contextlib.suppress(ProtocolError):
            load_permutations(path)
            continue
        named += 1
    assert named > 100
