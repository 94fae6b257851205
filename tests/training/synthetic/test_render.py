"""What a rendered crop shows of a person, and what it does not."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from training.synthetic.cameras import SYSU_CAMERAS, Camera
from training.synthetic.compose import paint_person
from training.synthetic.figure import Figure, start_figure
from training.synthetic.materials import Material, Pattern
from training.synthetic.people import Person, sample_person
from training.synthetic.pose import Gait, View
from training.synthetic.render import crop_rng, render_crop
from training.synthetic.samples import camera_of, render_people
from training.synthetic.wardrobe import Bag, Garment, Hat

PINK = (0.95, 0.30, 0.70)
STANDING = Gait(phase=0.3, stride=0.02, swing=0.02, elbow=0.1, spread=0.12, head_turn=0.0)


def recoloured(material: Material) -> Material:
    return replace(material, visible=PINK)


def recoloured_garment(garment: Garment) -> Garment:
    second = recoloured(garment.pattern.second)
    material = recoloured(garment.material)
    same = garment.sleeve_material is garment.material
    return replace(
        garment,
        material=material,
        sleeve_material=material if same else recoloured(garment.sleeve_material),
        pattern=replace(garment.pattern, second=second),
    )


def recoloured_person(person: Person) -> Person:
    """The same person with every dye, hair and skin colour replaced."""
    outfit, bag = person.outfit, person.bag
    return replace(
        person,
        hair=replace(person.hair, visible=PINK),
        face=replace(person.face, skin=PINK),
        outfit=replace(
            outfit,
            top=recoloured_garment(outfit.top),
            outer=None if outfit.outer is None else recoloured_garment(outfit.outer),
            bottom=recoloured_garment(outfit.bottom),
            shoes=replace(
                outfit.shoes,
                material=recoloured(outfit.shoes.material),
                sole_material=recoloured(outfit.shoes.sole_material),
            ),
            hat=replace(outfit.hat, material=recoloured(outfit.hat.material)),
            scarf=None if outfit.scarf is None else recoloured(outfit.scarf),
        ),
        bag=replace(
            bag,
            material=recoloured(bag.material),
            strap_material=recoloured(bag.strap_material),
        ),
    )


@pytest.mark.parametrize("number", [3, 6])
def test_infrared_is_independent_of_every_visible_colour(number: int) -> None:
    camera = camera_of(number)
    for index in range(8):
        person = sample_person(1, index)
        shown = render_crop(person, camera, crop_rng(1, index, number, 0))
        other = render_crop(recoloured_person(person), camera, crop_rng(1, index, number, 0))
        np.testing.assert_array_equal(shown.image, other.image)


def test_visible_crops_show_the_colour() -> None:
    person, camera = sample_person(1, 0), camera_of(1)
    shown = render_crop(person, camera, crop_rng(1, 0, 1, 0)).image
    other = render_crop(recoloured_person(person), camera, crop_rng(1, 0, 1, 0)).image
    assert np.abs(shown.astype(int) - other.astype(int)).mean() > 3


def test_infrared_crops_are_grey_and_visible_crops_are_not() -> None:
    for sample in render_people(2, 1, [1, 2, 3, 4, 5, 6], 1):
        spread = np.ptp(sample.image.astype(int), axis=2)
        assert (spread.max() == 0) == (sample.modality == "infrared")


def test_cameras_have_the_modalities_of_sysu_mm01() -> None:
    infrared = [c.number for c in SYSU_CAMERAS if c.modality == "infrared"]
    visible = [c.number for c in SYSU_CAMERAS if c.modality == "visible"]
    assert (visible, infrared) == ([1, 2, 4, 5], [3, 6])
    assert camera_of(2).scenery == camera_of(3).scenery
    assert camera_of(2).pitch == camera_of(3).pitch


@pytest.mark.parametrize("camera", SYSU_CAMERAS, ids=lambda c: f"camera {c.number}")
def test_crops_have_the_size_of_a_detectors_box_and_are_filled_by_a_person(camera: Camera) -> None:
    for index in range(25):
        crop = render_crop(sample_person(2, index), camera, crop_rng(2, index, camera.number, 0))
        height, width = crop.image.shape[:2]
        assert crop.image.dtype == np.uint8
        assert crop.image.shape == (height, width, 3)
        assert 160 <= height <= 260
        assert 1.9 <= height / width <= 3.0
        assert crop.person_mask.shape == (height, width)
        assert 0.08 < crop.person_mask.mean() < 0.75
        rows = np.flatnonzero(crop.person_mask.any(axis=1))
        assert rows[-1] - rows[0] > 0.5 * height


def test_a_crop_is_the_same_again_from_the_same_stream() -> None:
    person = sample_person(3, 4)
    for camera in SYSU_CAMERAS:
        one, two = (render_crop(person, camera, crop_rng(3, 4, camera.number, 0)) for _ in "ab")
        np.testing.assert_array_equal(one.image, two.image)
        np.testing.assert_array_equal(one.person_mask, two.person_mask)
        third = render_crop(person, camera, crop_rng(3, 4, camera.number, 1))
        assert not (one.image.shape == third.image.shape and np.array_equal(one.image, third.image))


def test_people_of_another_seed_or_index_are_other_people() -> None:
    people = [sample_person(seed, index) for seed in (0, 1) for index in range(40)]
    assert len({repr(person) for person in people}) == 80
    assert sample_person(0, 7) == people[7]


@pytest.mark.parametrize("yaw", [0.0, 0.8, 1.57, 2.4, 3.14, -1.2])
def test_a_longer_coat_reaches_down_to_its_own_hem_and_changes_nothing_else(yaw: float) -> None:
    short, long = (_covered_by_coat(_dressed(_coat(hem)), yaw) for hem in (0.25, 0.70))
    short_hem, long_hem = HIP_ROW + LEG_ROWS * 0.25, HIP_ROW + LEG_ROWS * 0.70
    assert _lowest_row(short) == pytest.approx(short_hem, abs=3)
    assert _lowest_row(long) == pytest.approx(long_hem, abs=3)
    changed = np.flatnonzero((short != long).any(axis=1))
    assert changed.min() == pytest.approx(short_hem, abs=4)
    assert changed.max() == pytest.approx(long_hem, abs=3)


def test_a_longer_sleeve_leaves_less_of_the_arm_bare() -> None:
    coats = [replace(_coat(0.1), sleeve=sleeve) for sleeve in (0.2, 0.4, 0.6, 0.8, 1.0)]
    figures = [_painted(_dressed(coat), 0.0) for coat in coats]
    bare = [int((figure.canvas.slot == figure.skin).sum()) for figure in figures]
    steps = -np.diff(bare)
    assert (steps > 100).all()


def test_a_backpack_is_a_bag_from_behind_and_two_straps_from_the_front() -> None:
    nylon, webbing = Material("nylon", PINK, 0.2), Material("canvas", PINK, 0.9)
    bag = Bag("backpack", 1, 0.24, 0.30, 0.05, nylon, webbing)
    person = replace(_dressed(None), bag=bag)
    assert _covered_by(person, nylon, np.pi).sum() > 1500
    assert _covered_by(person, nylon, 0.0).sum() < 400
    straps = _covered_by(person, webbing, 0.0)
    chest = straps[FLOOR_ROW - int(SCALE * 0.73 * STATURE)]
    assert (np.diff(chest.astype(int)) == 1).sum() == 2


PLAIN = Material("cotton", (0.5, 0.5, 0.5), 0.5)
COAT = Material("wool", (0.2, 0.2, 0.2), 0.3)
NO_PATTERN = Pattern("plain", 0.0, 0.1, 0.5, 0.0, True, PLAIN)
SCALE, FLOOR_ROW, STATURE = 180, 400, 1.7
LEG_ROWS = SCALE * STATURE * 0.5
HIP_ROW = FLOOR_ROW - LEG_ROWS


def _coat(hem: float) -> Garment:
    return Garment("coat", hem, 1.0, 0.03, 0.0, 0.0, frozenset(), COAT, COAT, NO_PATTERN)


def _dressed(coat: Garment | None) -> Person:
    """A person whose legs are half the stature, in plain clothes."""
    person = sample_person(0, 0)
    plain = replace(_coat(0.0), material=PLAIN, sleeve_material=PLAIN)
    return replace(
        person,
        body=replace(person.body, stature=STATURE, leg=0.5),
        outfit=replace(
            person.outfit,
            top=replace(plain, kind="t-shirt", sleeve=0.15, ease=0.01),
            outer=coat,
            bottom=replace(plain, kind="trousers", hem=0.95),
            hat=Hat("none", 1.0, PLAIN),
            scarf=None,
            shoes=replace(person.outfit.shoes, heel=0.0, shaft=0.0),
        ),
        bag=Bag("none", 1, 0.3, 0.3, 0.04, PLAIN, PLAIN),
    )


def _painted(person: Person, yaw: float) -> Figure:
    view = View(yaw=yaw, pitch=0.0, scale=SCALE, centre_x=100.0, floor_y=FLOOR_ROW)
    figure = start_figure(person, STANDING, view, 420, 200)
    paint_person(figure)
    return figure


def _covered_by(person: Person, material: Material, yaw: float) -> NDArray[np.bool_]:
    figure = _painted(person, yaw)
    slots = [n for n, s in enumerate(figure.palette.surfaces, start=1) if s.material is material]
    return np.isin(figure.canvas.slot, slots)


def _covered_by_coat(person: Person, yaw: float) -> NDArray[np.bool_]:
    return _covered_by(person, COAT, yaw)


def _lowest_row(mask: NDArray[np.bool_]) -> int:
    return int(np.flatnonzero(mask.any(axis=1)).max())
