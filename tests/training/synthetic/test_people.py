"""Who gets drawn: materials by fabric, wardrobes wide enough to tell people apart."""

from collections import Counter, defaultdict

import numpy as np

from training.synthetic.materials import Material, draw_material, draw_pattern
from training.synthetic.people import Person, sample_person
from training.synthetic.wardrobe import Garment

PEOPLE = [sample_person(8, index) for index in range(1200)]


def garments(person: Person) -> list[Garment]:
    outfit = person.outfit
    return [outfit.top, outfit.bottom] + ([outfit.outer] if outfit.outer is not None else [])


def grey(material: Material) -> float:
    return sum(material.visible) / 3


def test_within_a_fabric_the_dye_says_nothing_about_infrared() -> None:
    by_fabric: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for person in PEOPLE:
        for garment in garments(person):
            material = garment.material
            by_fabric[material.fabric].append((grey(material), material.infrared))
    checked = 0
    for pairs in by_fabric.values():
        if len(pairs) >= 300:
            checked += 1
            assert abs(np.corrcoef(np.array(pairs).T)[0, 1]) < 0.2
    assert checked >= 3


def test_leather_is_darker_in_infrared_than_linen() -> None:
    rng = np.random.default_rng(0)
    means = [
        np.mean([draw_material(rng, (fabric,)).infrared for _ in range(200)])
        for fabric in ("leather", "wool", "cotton", "linen")
    ]
    assert means == sorted(means)


def test_dyed_patterns_all_but_vanish_in_infrared_and_structural_ones_stay() -> None:
    rng = np.random.default_rng(1)
    base = draw_material(rng, ("cotton",))
    patterns = [draw_pattern(rng, base, plain=0.0) for _ in range(300)]
    steps: dict[bool, list[float]] = {
        kind: [abs(p.second.infrared - base.infrared) for p in patterns if p.structural is kind]
        for kind in (True, False)
    }
    assert max(steps[False]) <= 0.05 + 1e-9
    assert min(steps[True]) >= 0.15
    assert min(abs(grey(p.second) - grey(base)) for p in patterns) > 0.05


def test_every_kind_of_clothing_and_bag_is_worn_by_somebody() -> None:
    worn = Counter(g.kind for person in PEOPLE for g in garments(person))
    worn.update(person.outfit.shoes.kind for person in PEOPLE)
    worn.update(person.outfit.hat.kind for person in PEOPLE)
    worn.update(f"{person.bag.kind} {person.bag.side}" for person in PEOPLE)
    for kind in (
        *("t-shirt", "shirt", "hoodie", "vest-top", "jacket", "coat", "gilet"),
        *("trousers", "shorts", "skirt", "sneaker", "boots", "heels", "flats"),
        *("cap", "beanie", "brim", "none", "backpack 1", "shoulder -1", "handbag 1"),
    ):
        assert worn[kind] >= 30, kind


def test_lengths_are_continuous() -> None:
    hems = {round(p.outfit.bottom.hem, 3) for p in PEOPLE}
    coats = {round(p.outfit.outer.hem, 3) for p in PEOPLE if p.outfit.outer is not None}
    assert len(hems) > 300
    assert len(coats) > 200
    assert max(coats) - min(coats) > 0.8


def test_most_hems_can_be_seen_against_the_cloth_below_in_both_modalities() -> None:
    seen = 0
    for person in PEOPLE:
        upper = (person.outfit.outer or person.outfit.top).material
        lower = person.outfit.bottom.material
        seen += abs(grey(upper) - grey(lower)) > 0.1 and abs(upper.infrared - lower.infrared) > 0.1
    assert seen > 0.6 * len(PEOPLE)
