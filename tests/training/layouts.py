"""Small datasets of flat crops in the real layouts, written where a test wants them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image


def write_crop(path: Path, level: int = 128) -> None:
    """A 16x32 crop of one grey level."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((32, 16, 3), level, dtype=np.uint8)).save(path)


def write_sysu(
    root: Path,
    *,
    train: Sequence[int],
    val: Sequence[int] = (),
    test: Sequence[int] = (),
    images: int = 2,
) -> Path:
    """The SYSU-MM01 layout: every person seen by all six cameras, `images` times by each."""
    for name, ids in (("train", train), ("val", val), ("test", test)):
        file = root / "exp" / f"{name}_id.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(",".join(str(person) for person in ids) + "\n")
    for person in (*train, *val, *test):
        for camera in range(1, 7):
            for number in range(1, images + 1):
                write_crop(root / f"cam{camera}" / f"{person:04d}" / f"{number:04d}.jpg", person)
    return root


def write_regdb(root: Path, *, train: Sequence[int], test: Sequence[int], images: int = 2) -> Path:
    """The RegDB layout, split 1: folders by person, labels counted from 0 in each part."""
    for part, persons in (("train", train), ("test", test)):
        for word, folder in (("visible", "Visible"), ("thermal", "Thermal")):
            lines = []
            for label, person in enumerate(persons):
                for number in range(1, images + 1):
                    name = f"{folder}/{person}/{number}.bmp"
                    write_crop(root / name, person)
                    lines.append(f"{name} {label}\n")
            index = root / "idx" / f"{part}_{word}_1.txt"
            index.parent.mkdir(parents=True, exist_ok=True)
            index.write_text("".join(lines))
    return root
