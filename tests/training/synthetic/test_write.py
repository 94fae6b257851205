"""A rendered data set on disk: its files, its splits, all or nothing."""

import errno
import json
from collections import Counter
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from training.synthetic import write
from training.synthetic.errors import SynthesisError
from training.synthetic.layouts import RegdbLayout, SysuLayout
from training.synthetic.samples import render_people
from training.synthetic.write import synthesize


def digests(root: Path) -> dict[str, str]:
    files = (path for path in root.rglob("*") if path.is_file())
    return {str(p.relative_to(root)): sha256(p.read_bytes()).hexdigest() for p in files}


def ids_of(files: dict[str, str], name: str) -> list[int]:
    return [int(n) for n in files[f"exp/{name}_id.txt"].strip().split(",") if n]


def test_the_same_seed_gives_the_same_bytes_with_any_number_of_workers(tmp_path: Path) -> None:
    for workers in (1, 2):
        synthesize(
            tmp_path / str(workers),
            layout="sysu-mm01",
            persons=9,
            seed=4,
            images_per_camera=1,
            workers=workers,
        )
    alone, together = digests(tmp_path / "1"), digests(tmp_path / "2")
    assert len(alone) == 9 * 6 + 3 + 1
    assert alone == together


def test_another_seed_gives_other_crops(tmp_path: Path) -> None:
    for seed in (1, 2):
        synthesize(tmp_path / str(seed), layout="regdb", persons=2, seed=seed, images_per_camera=1)
    one, two = digests(tmp_path / "1"), digests(tmp_path / "2")
    assert one.keys() == two.keys()
    assert all(one[name] != two[name] for name in one if name.endswith(".jpg"))


def test_sysu_layout_has_a_folder_a_camera_and_identity_and_one_line_a_split(
    tmp_path: Path,
) -> None:
    out = tmp_path / "new" / "set"
    summary = synthesize(out, layout="sysu-mm01", persons=3, seed=1, images_per_camera=2)
    assert summary.images == 3 * 6 * 2
    expected = {
        f"cam{camera}/{person:04d}/{image:04d}.jpg"
        for camera in range(1, 7)
        for person in (1, 2, 3)
        for image in (1, 2)
    }
    found = {str(p.relative_to(out)) for p in out.rglob("*.jpg")}
    assert found == expected
    texts = {
        f"exp/{n}_id.txt": (out / f"exp/{n}_id.txt").read_text() for n in ("train", "val", "test")
    }
    assert all(text.count("\n") == 1 for text in texts.values())
    assert sorted(n for name in ("train", "val", "test") for n in ids_of(texts, name)) == [1, 2, 3]
    assert json.loads((out / "SYNTHETIC.json").read_text())["seed"] == 1


def test_sysu_splits_have_the_proportions_of_the_data_set() -> None:
    files = SysuLayout().index_files(491, 4, None, seed=0)
    sizes = {name: len(ids_of(files, name)) for name in ("train", "val", "test")}
    assert sizes == {"train": 296, "val": 99, "test": 96}
    test = ids_of(files, "test")
    assert test != list(range(test[0], test[0] + 96))


@pytest.mark.parametrize("persons", [1, 2, 3, 5])
def test_even_a_few_people_leave_somebody_to_test_on(persons: int) -> None:
    files = SysuLayout().index_files(persons, 4, None, seed=0)
    together = [n for name in ("train", "val", "test") for n in ids_of(files, name)]
    assert sorted(together) == list(range(1, persons + 1))
    assert len(ids_of(files, "test")) == 1


def test_everybody_can_be_in_the_test_split() -> None:
    files = SysuLayout().index_files(5, 4, 5, seed=0)
    assert ids_of(files, "test") == [1, 2, 3, 4, 5]
    assert files["exp/train_id.txt"] == files["exp/val_id.txt"] == "\n"


def test_regdb_index_files_pair_paths_with_labels_from_zero(tmp_path: Path) -> None:
    synthesize(tmp_path / "r", layout="regdb", persons=5, seed=1, images_per_camera=2)
    for split in range(1, 11):
        seen: list[str] = []
        for part, people in (("train", 3), ("test", 2)):
            visible, thermal = (
                (tmp_path / "r" / f"idx/{part}_{m}_{split}.txt").read_text().splitlines()
                for m in ("visible", "thermal")
            )
            labels = Counter(line.split(" ")[1] for line in visible)
            assert labels == {str(n): 2 for n in range(people)}
            persons = [(line.split("/")[1], line.split(" ")[1]) for line in visible]
            assert persons == [(line.split("/")[1], line.split(" ")[1]) for line in thermal]
            assert all((tmp_path / "r" / line.split(" ")[0]).is_file() for line in thermal)
            seen += {person for person, _ in persons}
        assert sorted(seen) == ["1", "2", "3", "4", "5"]


def test_the_ten_regdb_splits_differ() -> None:
    files = RegdbLayout().index_files(40, 1, None, seed=0)
    tests = {
        tuple(line.split("/")[1] for line in files[f"idx/test_visible_{n}.txt"].splitlines())
        for n in range(1, 11)
    }
    assert len(tests) == 10
    assert all(len(people) == 20 for people in tests)


def test_files_carry_pixels_and_nothing_else(tmp_path: Path) -> None:
    synthesize(tmp_path / "s", layout="sysu-mm01", persons=2, seed=1, images_per_camera=1)
    tables = set()
    for path in (tmp_path / "s").rglob("*.jpg"):
        with Image.open(path) as image:
            assert not image.getexif()
            assert set(image.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}
            assert image.mode == "RGB"
            tables.add(repr(image.quantization))  # type: ignore[attr-defined]
    assert len(tables) == 1


def test_people_in_memory_are_those_on_disk(tmp_path: Path) -> None:
    synthesize(tmp_path / "s", layout="sysu-mm01", persons=2, seed=6, images_per_camera=1)
    for sample in render_people(2, 6, [2, 3], 1):
        path = tmp_path / "s" / f"cam{sample.camera_number}" / sample.person_id / "0001.jpg"
        stored = np.asarray(Image.open(path)).astype(int)
        assert np.abs(stored - sample.image).mean() < 6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"persons": 0}, "persons must be from 1 to 9999, got 0"),
        ({"persons": -3}, "got -3"),
        ({"persons": 10_000}, "got 10000"),
        ({"seed": -1}, "seed must not be negative, got -1"),
        ({"images_per_camera": 0}, "images per camera must be from 1 to 9999, got 0"),
        ({"test_persons": 3}, "test persons must be from 1 to the number of persons, 2, got 3"),
        ({"test_persons": 0}, "got 0"),
        (
            {"layout": "market"},
            "layout must be one of sysu-mm01, regdb, llcm, manifest, got 'market'",
        ),
    ],
)
def test_arguments_out_of_range_are_named_and_write_nothing(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    arguments: dict[str, object] = {"layout": "sysu-mm01", "persons": 2, "seed": 0} | change
    with pytest.raises(SynthesisError, match=message):
        synthesize(tmp_path / "out", **arguments)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(SynthesisError, match="is not empty"):
        synthesize(tmp_path, layout="sysu-mm01", persons=1, seed=0)
    with pytest.raises(SynthesisError, match="is a file"):
        synthesize(tmp_path / "mine.txt", layout="sysu-mm01", persons=1, seed=0)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_an_empty_folder_may_be_filled(tmp_path: Path) -> None:
    out = tmp_path / "empty"
    out.mkdir()
    synthesize(out, layout="sysu-mm01", persons=1, seed=0, images_per_camera=1)
    assert len(list(out.rglob("*.jpg"))) == 6


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left")])
def test_an_interrupted_run_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    real = write._render_person
    done: list[int] = []

    def failing(*arguments: Any) -> int:
        if done:
            raise error
        done.append(arguments[-1])
        return real(*arguments)

    monkeypatch.setattr(write, "_render_person", failing)
    expected = SynthesisError if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(expected) as caught:
        synthesize(tmp_path / "out", layout="sysu-mm01", persons=3, seed=0, images_per_camera=1)
    assert list(tmp_path.iterdir()) == []
    if isinstance(error, OSError):
        assert "no space left on the disk" in str(caught.value)
