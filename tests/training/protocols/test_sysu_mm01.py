"""The SYSU-MM01 protocol against the reference implementation, and its rules one by one."""

import json
import random
from pathlib import Path

import numpy as np
import pytest

from training.errors import ProtocolError
from training.protocols.embedded import EmbeddedSet
from training.protocols.sysu_mm01 import (
    Search,
    draw_published,
    draw_seeded,
    evaluate_sysu_mm01,
    load_permutations,
)

GOLDEN = Path(__file__).parents[2] / "golden"


def embedded(persons: list[int], cameras: list[int], rows: list[list[float]]) -> EmbeddedSet:
    numbers = [1 + cameras[:place].count(camera) for place, camera in enumerate(cameras)]
    return EmbeddedSet(
        np.array(rows, dtype=np.float32), np.array(persons), np.array(cameras), np.array(numbers)
    )


@pytest.mark.parametrize("search", ["all", "indoor"])
@pytest.mark.parametrize("shots", [1, 10])
def test_figures_agree_with_the_reference(search: Search, shots: int) -> None:
    """Within 1e-3 percent of `golden/sysu_expected.json`, plain."""
    features = np.load(GOLDEN / "sysu_features.npz")
    expected = json.loads((GOLDEN / "sysu_expected.json").read_text())
    query = EmbeddedSet(
        features["query_embeddings"],
        features["query_person_ids"],
        features["query_camera_ids"],
        np.zeros(len(features["query_person_ids"]), dtype=np.int64),
    )
    gallery = EmbeddedSet(
        features["gallery_embeddings"],
        features["gallery_person_ids"],
        features["gallery_camera_ids"],
        features["gallery_image_numbers"],
    )
    permutations = load_permutations(GOLDEN / "rand_perm_cam.mat")
    result = evaluate_sysu_mm01(
        query, gallery, search=search, shots=shots, permutations=permutations
    )
    found = [getattr(result.mean, column) for column in expected["columns"]]
    np.testing.assert_allclose(found, expected[f"{search}_{shots}_plain"], atol=1e-3, rtol=0)
    assert result.sampling == "rand_perm_cam.mat"


def test_probe_of_camera_3_skips_camera_2() -> None:
    # Person 1 is found at once in camera 2 and only behind person 2 in camera 1.
    gallery = embedded([1, 1, 2], [2, 1, 1], [[1, 0], [0, 1], [0.8, 0.6]])
    for camera, rank1 in ((3, 0.0), (6, 100.0)):
        query = embedded([1], [camera], [[1, 0]])
        result = evaluate_sysu_mm01(
            query, gallery, search="all", shots=1, permutations=None, trials=1
        )
        assert result.mean.rank1 == rank1


def test_indoor_search_leaves_cameras_4_and_5_out() -> None:
    gallery = embedded([2, 1], [4, 1], [[1, 0], [0.8, 0.6]])
    query = embedded([1], [6], [[1, 0]])
    rank1 = {
        search: evaluate_sysu_mm01(
            query, gallery, search=search, shots=1, permutations=None, trials=1
        ).mean.rank1
        for search in ("all", "indoor")
    }
    assert rank1 == {"all": 0.0, "indoor": 100.0}


def test_seeded_choice_draws_what_pythons_random_draws() -> None:
    """As AGW does: persons in order, cameras in order, one choice among sorted files."""
    persons = [person for person in (5, 9) for _ in range(8)]
    cameras = [camera for _ in (5, 9) for camera in (1, 1, 1, 2, 2, 4, 5, 5)]
    gallery = EmbeddedSet(
        np.zeros((16, 2), dtype=np.float32),
        np.array(persons),
        np.array(cameras),
        np.array([1, 2, 3, 1, 2, 1, 1, 2] * 2),
    )
    for trial in range(3):
        draw = random.Random(trial)
        expected = []
        for first in (0, 8):
            for start, stop in ((0, 3), (3, 5), (5, 6), (6, 8)):
                expected.append(first + draw.choice(range(start, stop)))
        assert draw_seeded(gallery, (1, 2, 4, 5), 1, trial).tolist() == expected


def test_ten_shots_take_all_of_fewer_images() -> None:
    gallery = embedded([1] * 3, [1] * 3, [[1, 0]] * 3)
    assert draw_seeded(gallery, (1, 2, 4, 5), 10, 0).tolist() == [0, 1, 2]


@pytest.mark.parametrize("person", [0, 334])
def test_a_person_missing_from_the_permutations_is_named(person: int) -> None:
    gallery = embedded([person], [1], [[1, 0]])
    permutations = load_permutations(GOLDEN / "rand_perm_cam.mat")
    with pytest.raises(ProtocolError, match=f"no person {person} of camera 1"):
        draw_published(gallery, permutations, 1, 0)


def test_a_file_that_is_no_permutations_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rand_perm_cam.mat"
    path.write_bytes(b"not a MATLAB file" * 20)
    with pytest.raises(ProtocolError, match=r"rand_perm_cam\.mat: expected the permutations"):
        load_permutations(path)


def test_permutations_with_flipped_bytes_are_named(tmp_path: Path) -> None:
    path = tmp_path / "rand_perm_cam.mat"
    whole = (GOLDEN / "rand_perm_cam.mat").read_bytes()
    path.write_bytes(whole[:400] + bytes(byte ^ 0xFF for byte in whole[400:440]) + whole[440:])
    with pytest.raises(ProtocolError, match=r"rand_perm_cam\.mat: expected the permutations"):
        load_permutations(path)


def test_embeddings_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ProtocolError, match="row 1 is not finite"):
        embedded([1, 2], [1, 1], [[1, 0], [float("nan"), 0]])


def test_an_empty_gallery_is_refused() -> None:
    query = embedded([1], [3], [[1, 0]])
    gallery = embedded([1], [4], [[1, 0]])
    with pytest.raises(ProtocolError, match="1 queries and 0 gallery images"):
        evaluate_sysu_mm01(query, gallery, search="indoor", shots=1, permutations=None)
