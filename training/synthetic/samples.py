"""Rendered people in memory, for a demonstration or a test that needs no files."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.synthetic.cameras import SYSU_CAMERAS, Camera
from training.synthetic.people import sample_person
from training.synthetic.render import crop_rng, render_crop


@dataclass(frozen=True)
class SyntheticSample:
    """One crop and what is known of it: `image` uint8 (H, W, 3), RGB."""

    person_id: str
    camera_number: int
    modality: str
    image: NDArray[np.uint8]


def camera_of(number: int) -> Camera:
    """Find a camera by its number. Raises ValueError for a number that no camera has."""
    for camera in SYSU_CAMERAS:
        if camera.number == number:
            return camera
    raise ValueError(f"cameras are numbered 1 to {len(SYSU_CAMERAS)}, got {number}")


def render_people(
    persons: int, seed: int, cameras: Sequence[int], images_per_camera: int
) -> Iterator[SyntheticSample]:
    """Render people 1 to `persons` as the named cameras see them, one crop at a time.

    The crops equal those of `synthesize` in the SYSU-MM01 layout with the same seed, before JPEG.
    """
    seen_by = [camera_of(number) for number in cameras]
    for index in range(persons):
        person = sample_person(seed, index)
        for camera in seen_by:
            for image in range(images_per_camera):
                crop = render_crop(person, camera, crop_rng(seed, index, camera.number, image))
                yield SyntheticSample(
                    f"{index + 1:04d}", camera.number, camera.modality, crop.image
                )
