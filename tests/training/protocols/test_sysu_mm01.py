"""The SYSU-MM01 protocol against the reference implementation, and its rules one by one."""

import json
import random
from pathlib import Path

import numpy as np
import pytest

from training.errors import ProtocolError
from training.metrics import mean_figures
from training.protocols.contest import Contest, Labels
from training.protocols.drawing import draw_seeded
from training.protocols.embedded import embedded
from training.protocols.permutations import load_permutations
from training.protocols.ranking import rank
from training.protocols.sysu_mm01 import Search, draw_published, sysu_mm01
from training.protocols.variants import ReRanking

GOLDEN = Path(__file__).parents[2] / "golden"


def labels(persons: list[int], cameras: list[int]) -> Labels:
    numbers = [1 + cameras[:place].count(camera) for place, camera in enumerate(cameras)]
    return Labels(np.array(persons), np.array(cameras), np.array(numbers))


def golden_contest(search: Search, shots: int) -> Contest:
    features = np.load(GOLDEN / "sysu_features.npz")
    query = Labels(
        features["query_person_ids"],
        features["query_camera_ids"],
        np.zeros_like(features["query_person_ids"]),
    )
    gallery = Labels(
        features["gallery_person_ids"],
        features["gallery_camera_ids"],
        features["gallery_image_numbers"],
    )
    permutations = load_permutations(GOLDEN / "rand_perm_cam.mat")
    return sysu_mm01(query, gallery, search=search, shots=shots, permutations=permutations)


def rank1(
    query: Labels, gallery: Labels, vectors: list[tuple[float, float]], search: Search
) -> float:
    """Rank-1 of one trial that draws the whole gallery; the query looks along the first axis."""
    contest = sysu_mm01(query, gallery, search=search, shots=1, permutations=None, trials=1)
    looking = np.array([[1, 0]], dtype=np.float32)
    candidates = np.array(vectors, dtype=np.float32)
    (outcome,) = rank(contest, embedded(looking, "query"), embedded(candidates, "gallery"))
    return outcome.trials[0].rank1


@pytest.mark.parametrize("search", ["all", "indoor"])
@pytest.mark.parametrize("shots", [1, 10])
def test_figures_agree_with_the_reference(search: Search, shots: int) -> None:
    """Within 1e-3 percent of `golden/sysu_expected.json`, plain and re-ranked."""
    features = np.load(GOLDEN / "sysu_features.npz")
    expected = json.loads((GOLDEN / "sysu_expected.json").read_text())
    outcomes = rank(
        golden_contest(search, shots),
        embedded(features["query_embeddings"], "query"),
        embedded(features["gallery_embeddings"], "gallery"),
        [None, ReRanking()],
    )
    for outcome, variant in zip(outcomes, ("plain", "reranked"), strict=True):
        mean = mean_figures(outcome.trials)
        found = [getattr(mean, column) for column in expected["columns"]]
        published = expected[f"{search}_{shots}_{variant}"]
        np.testing.assert_allclose(found, published, atol=1e-3, rtol=0)


def test_probe_of_camera_3_skips_camera_2() -> None:
    # Person 1 is found at once in camera 2 and only behind person 2 in camera 1.
    gallery = labels([1, 1, 2], [2, 1, 1])
    vectors = [(1.0, 0.0), (0.0, 1.0), (0.8, 0.6)]
    found = [rank1(labels([1], [camera]), gallery, vectors, "all") for camera in (3, 6)]
    assert found == [0.0, 100.0]


def test_indoor_search_leaves_cameras_4_and_5_out() -> None:
    query, gallery = labels([1], [6]), labels([2, 1], [4, 1])
    vectors = [(1.0, 0.0), (0.8, 0.6)]
    assert rank1(query, gallery, vectors, "all") == 0.0
    assert rank1(query, gallery, vectors, "indoor") == 100.0


@pytest.mark.parametrize("cameras", [(1, 2, 4, 5), (1, 2)])
def test_seeded_choice_draws_what_pythons_random_draws(cameras: tuple[int, ...]) -> None:
    """As AGW does: persons in order, cameras in order, one choice among sorted files, one stream.

    Camera 4 never saw person 9, and nothing is drawn for it there.
    """
    files: dict[tuple[int, int], list[int]] = {}
    persons: list[int] = []
    seen: list[int] = []
    numbers: list[int] = []
    for person, camera, images in (
        (5, 1, 3),
        (5, 2, 2),
        (5, 4, 1),
        (5, 5, 2),
        (9, 1, 4),
        (9, 2, 2),
    ):
        for number in range(1, images + 1):
            files.setdefault((person, camera), []).append(len(persons))
            persons.append(person)
            seen.append(camera)
            numbers.append(number)
    gallery = Labels(np.array(persons), np.array(seen), np.array(numbers))
    for trial in range(5):
        random.seed(trial)
        expected = [
            random.choice(files[person, camera])
            for person in (5, 9)
            for camera in cameras
            if (person, camera) in files
        ]
        assert draw_seeded(gallery, cameras, 1, trial).tolist() == expected


def test_the_draw_does_not_depend_on_the_order_of_rows() -> None:
    gallery = labels([1] * 6 + [2] * 6, [1] * 12)
    shuffled = np.random.default_rng(0).permutation(12)
    moved = draw_seeded(gallery.rows(shuffled), (1,), 1, 3)
    assert sorted(shuffled[moved].tolist()) == draw_seeded(gallery, (1,), 1, 3).tolist()


def test_ten_shots_take_all_of_fewer_images() -> None:
    assert draw_seeded(labels([1] * 3, [1] * 3), (1, 2, 4, 5), 10, 0).tolist() == [0, 1, 2]


@pytest.mark.parametrize("person", [0, 334])
def test_a_person_missing_from_the_permutations_is_named(person: int) -> None:
    permutations = load_permutations(GOLDEN / "rand_perm_cam.mat")
    with pytest.raises(ProtocolError, match=f"no person {person} of camera 1"):
        draw_published(labels([person], [1]), permutations, 1, 0)


def test_permutations_that_name_no_image_are_refused() -> None:
    permutations = load_permutations(GOLDEN / "rand_perm_cam.mat")
    gallery = Labels(np.array([6]), np.array([1]), np.array([9999]))
    with pytest.raises(ProtocolError, match="name no image of the gallery"):
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


def test_an_empty_gallery_is_refused() -> None:
    with pytest.raises(ProtocolError, match="1 queries and 0 gallery images"):
        sysu_mm01(labels([1], [3]), labels([1], [4]), search="indoor", shots=1, permutations=None)


def test_a_gallery_image_that_stands_twice_is_named() -> None:
    """Else one shot draws both, and a person is found more easily than the protocol allows."""
    permutations = [[np.array([[1, 2]])]]
    once = Labels(np.array([1, 1]), np.array([1, 1]), np.array([1, 2]))
    assert draw_published(once, permutations, 1, 0).tolist() == [0]
    twice = Labels(np.array([1, 1]), np.array([1, 1]), np.array([1, 1]))
    with pytest.raises(ProtocolError, match="image number 1 of person 1, camera 1 more than once"):
        draw_published(twice, permutations, 1, 0)
