"""Identity lives in the person and nowhere else."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from training.synthetic.cameras import SYSU_CAMERAS, Camera
from training.synthetic.people import Person, sample_person
from training.synthetic.render import RenderedCrop, crop_rng, render_crop, render_empty
from training.synthetic.samples import camera_of

PERSONS = 40
SEED = 5
Features = Callable[[RenderedCrop], NDArray[np.float64]]


def raw_pixels(crop: RenderedCrop) -> NDArray[np.float64]:
    small = np.asarray(Image.fromarray(crop.image).resize((16, 32)), np.float64).ravel()
    centred = small - small.mean()
    return np.asarray(centred / np.linalg.norm(centred))


def colour_histograms(crop: RenderedCrop) -> NDArray[np.float64]:
    parts = np.array_split(crop.image, 6)
    counts = [
        np.histogram(part[:, :, channel], 16, (0, 256))[0] / part[:, :, channel].size
        for part in parts
        for channel in range(3)
    ]
    return np.sqrt(np.concatenate(counts) / 18)


def crop_size(crop: RenderedCrop) -> NDArray[np.float64]:
    height, width = crop.image.shape[:2]
    return np.array([height / 260, width / 130])


def noise_pattern(crop: RenderedCrop) -> NDArray[np.float64]:
    grey = crop.image[:150, :48].astype(np.float64).mean(axis=2)
    grain = grey - np.roll(grey, 1, axis=1)
    return np.asarray(grain.ravel() / np.linalg.norm(grain))


FEATURES: dict[str, Features] = {
    "pixels": raw_pixels,
    "histograms": colour_histograms,
    "size": crop_size,
    "noise": noise_pattern,
}


def nearest_neighbour_hits(
    probes: list[RenderedCrop], gallery: list[RenderedCrop], features: Features
) -> int:
    """How many probes have the crop at their own position as nearest neighbour."""
    probe = np.stack([features(crop) for crop in probes])
    other = np.stack([features(crop) for crop in gallery])
    distance = ((probe[:, None, :] - other[None, :, :]) ** 2).sum(axis=2)
    return int((distance.argmin(axis=1) == np.arange(len(probes))).sum())


def binomial_bound(trials: int, chance: float) -> float:
    """Hits that chance exceeds about once in ten thousand times (3.7 standard deviations)."""
    return trials * chance + 3.7 * float(np.sqrt(trials * chance * (1 - chance)))


def stream(index: int, camera: Camera, image: int) -> np.random.Generator:
    return crop_rng(SEED, index, camera.number, image)


Crops = dict[tuple[int, int], list[RenderedCrop]]
PAIRS = [(1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (6, 6), (3, 2), (6, 4), (3, 1), (6, 5)]


@pytest.fixture(scope="module")
def empty_crops() -> Crops:
    """Every crop of PERSONS people with nobody in it, by camera number and image number."""
    return {
        (camera.number, image): [
            render_empty(camera, stream(index, camera, image)) for index in range(PERSONS)
        ]
        for camera in SYSU_CAMERAS
        for image in (0, 1)
    }


@pytest.fixture(scope="module")
def full_crops() -> Crops:
    """The same crops with their people, of two visible cameras."""
    people = [sample_person(SEED, index) for index in range(PERSONS)]
    return {
        (number, image): [
            render_crop(person, camera_of(number), stream(index, camera_of(number), image))
            for index, person in enumerate(people)
        ]
        for number in (1, 4)
        for image in (0, 1)
    }


@pytest.mark.parametrize("name", list(FEATURES))
def test_crops_without_their_person_match_at_chance(name: str, empty_crops: Crops) -> None:
    hits = sum(
        nearest_neighbour_hits(empty_crops[probe, 0], empty_crops[other, 1], FEATURES[name])
        for probe, other in PAIRS
    )
    assert hits <= binomial_bound(PERSONS * len(PAIRS), 1 / PERSONS)


@pytest.mark.parametrize("name", ["pixels", "histograms"])
def test_crops_with_their_person_match_above_chance(name: str, full_crops: Crops) -> None:
    """The control: the same features do find people, so the test above can fail."""
    hits = sum(
        nearest_neighbour_hits(full_crops[number, 0], full_crops[number, 1], FEATURES[name])
        for number in (1, 4)
    )
    assert hits > 2 * binomial_bound(PERSONS * 2, 1 / PERSONS)


@pytest.mark.parametrize("camera", SYSU_CAMERAS, ids=lambda c: f"camera {c.number}")
def test_scene_around_a_person_is_the_scene_without_anybody(camera: Camera) -> None:
    """The scene that the chance test judges is the one that the crops show."""
    compared = 0
    for index in range(6):
        shown = render_crop(sample_person(SEED, index), camera, stream(index, camera, 0))
        empty = render_empty(camera, stream(index, camera, 0))
        assert shown.image.shape == empty.image.shape
        away = ~_grown(shown.person_mask, 6)
        compared += int(away.sum())
        np.testing.assert_array_equal(shown.image[away], empty.image[away])
    assert compared > 6 * 2000


@pytest.mark.parametrize("camera", SYSU_CAMERAS, ids=lambda c: f"camera {c.number}")
def test_scene_does_not_depend_on_who_is_in_it(camera: Camera) -> None:
    tall, other = (render_crop(_person(i), camera, stream(0, camera, 0)) for i in (1, 2))
    away = ~_grown(tall.person_mask | other.person_mask, 6)
    np.testing.assert_array_equal(tall.image[away], other.image[away])
    assert not np.array_equal(tall.image, other.image)


def _person(index: int) -> Person:
    return sample_person(SEED, index)


def _grown(mask: NDArray[np.bool_], by: int) -> NDArray[np.bool_]:
    """Grow a mask by `by` pixels in every direction: a blur reaches that far."""
    height, width = mask.shape
    padded = np.pad(mask, by)
    grown = np.zeros_like(mask)
    for dy in range(2 * by + 1):
        for dx in range(2 * by + 1):
            grown |= padded[dy : dy + height, dx : dx + width]
    return grown
