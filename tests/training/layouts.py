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


def write_llcm(root: Path, *, train: Sequence[int], test: Sequence[int], images: int = 2) -> Path:
    """The LLCM layout: lists for training (cameras 1 and 2), all camera folders for testing."""
    (root / "idx").mkdir(parents=True, exist_ok=True)
    for word in ("vis", "nir"):
        lines = []
        for label, person in enumerate(train):
            for camera in (1, 2):
                for number in range(1, images + 1):
                    name = f"{word}/{person:04d}/{person:04d}_c{camera:02d}_s1_f{number}_{word}.jpg"
                    write_crop(root / name, person)
                    lines.append(f"{name} {label}\n")
        (root / "idx" / f"train_{word}.txt").write_text("".join(lines))
        cameras = [camera for camera in range(1, 10) if (word, camera) != ("nir", 3)]
        for camera in cameras:
            (root / f"test_{word}" / f"cam{camera}").mkdir(parents=True, exist_ok=True)
            for person in test:
                for number in range(1, images + 1):
                    folder = root / f"test_{word}" / f"cam{camera}" / f"{person:04d}"
                    write_crop(
                        folder / f"{person:04d}_c{camera:02d}_s1_f{number}_{word}.jpg", person
                    )
    (root / "idx" / "test_id.txt").write_text(",".join(str(person) for person in test))
    return root


def write_manifest(root: Path, rows: Sequence[str], header: str | None = None) -> Path:
    """A manifest of these lines, and a crop for each path in them."""
    for row in rows:
        name = row.split(",")[0].strip()
        if name and ".." not in name:
            write_crop(root / name)
    header = "path,person_id,camera_id,modality,split" if header is None else header
    root.mkdir(parents=True, exist_ok=True)
    text = "".join(f"{line}\n" for line in (header, *rows))
    (root / "manifest.csv").write_text(text, encoding="utf-8")
    return root
