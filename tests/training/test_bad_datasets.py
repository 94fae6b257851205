"""What `mpanet train` says of a dataset it cannot train on: one line, and nothing written."""

from collections.abc import Callable
from pathlib import Path

import pytest

from mpanet.cli import main
from tests.training.layouts import write_llcm, write_manifest, write_regdb, write_sysu

RECIPE = """
precision = "fp32"
[network]
backbone = "resnet18"
image_size = [32, 32]
num_patterns = 2
[batch]
persons = 2
images_per_person = {images}
[optimizer]
learning_rate = 1e-3
[schedule]
epochs = 1
"""
PEOPLE = [
    f"{person}/{modality}{number}.png,{person},gate,{modality},train"
    for person in ("anna", "bob", "carl")
    for modality in ("visible", "infrared")
    for number in (1, 2)
]


def sound(root: Path) -> str:
    write_manifest(root, PEOPLE)
    return "manifest"


def bad_row(root: Path) -> str:
    write_manifest(root, [*PEOPLE[:4], "x.png,bob,gate,thermal,train", *PEOPLE[4:]])
    return "manifest"


def one_modality(root: Path) -> str:
    write_manifest(root, [row for row in PEOPLE if "visible" in row])
    return "manifest"


def one_person_of_one_modality(root: Path) -> str:
    write_manifest(root, [row for row in PEOPLE if not row.startswith("bob/infrared")])
    return "manifest"


def torn_image(root: Path) -> str:
    write_sysu(root, train=[1, 2, 3], test=[4])
    image = root / "cam3" / "0002" / "0001.jpg"
    image.write_bytes(image.read_bytes()[:-200])
    return "sysu-mm01"


def folder_named_like_an_image(root: Path) -> str:
    write_sysu(root, train=[1, 2, 3], test=[4])
    (root / "cam1" / "0001" / "0009.jpg").mkdir()
    return "sysu-mm01"


def list_of_other_bytes(root: Path) -> str:
    write_regdb(root, train=[1, 2, 3], test=[4])
    (root / "idx" / "train_thermal_1.txt").write_bytes(b"\xff\xfe\x00")
    return "regdb"


def no_test_folder(root: Path) -> str:
    write_llcm(root, train=[1, 2, 3], test=[4])
    (root / "test_nir").rename(root / "elsewhere")
    return "llcm"


@pytest.mark.parametrize(
    ("damage", "images", "message"),
    [
        (bad_row, 2, "1 of 13 rows of manifest.csv is bad: line 6 (x.png): modality is visible or"),
        (one_modality, 2, "the train split has no infrared image among 6; training needs both"),
        (one_person_of_one_modality, 2, "1 identity without an infrared image: id 2 ("),
        (sound, 3, "batch.images_per_person: Input should be a multiple of 2"),
        (sound, 6, "6 images per person need an identity with 3 visible and 3 infrared images;"),
        (torn_image, 2, "1 unreadable image: {root}/cam3/0002/0001.jpg (cannot decode the JPEG"),
        (folder_named_like_an_image, 2, "1 unreadable image: {root}/cam1/0001/0009.jpg (Is a dir"),
        (list_of_other_bytes, 2, "idx/train_thermal_1.txt: cannot be read: 'utf-8' codec"),
        (no_test_folder, 2, "1 missing test folder: {root}/test_nir"),
    ],
)
def test_it_is_one_line_and_nothing_is_written(
    damage: Callable[[Path], str],
    images: int,
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    root = tmp_path / "data"
    name = damage(root)
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(RECIPE.format(images=images))
    common = ["--dataset", name, "--data", str(root), "--recipe", str(recipe)]
    assert main(["train", *common, "--out", str(tmp_path / "run")]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("mpanet train: error: ")
    assert message.format(root=root) in line
    assert not (tmp_path / "run").exists()
