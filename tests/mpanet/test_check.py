"""`mpanet check` as a person calls it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mpanet.cli import main
from tests.training.layouts import (
    write_crop,
    write_llcm,
    write_manifest,
    write_regdb,
    write_sysu,
)


@pytest.fixture
def sysu(tmp_path: Path) -> Path:
    return write_sysu(tmp_path / "sysu", train=[1, 3], val=[4], test=[2])


def test_a_sound_dataset_is_counted_and_exits_0(
    sysu: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", "--dataset", "sysu-mm01", "--data", str(sysu)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"sysu-mm01 in {sysu}",
        "  train           2 identities       24 images (16 visible, 8 infrared)",
        "  validation      1 identities       12 images (8 visible, 4 infrared)",
        "  test            1 identities       12 images (8 visible, 4 infrared)",
        "sound",
    ]


def test_everything_wrong_is_reported_at_once_and_exits_1(
    sysu: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torn = sysu / "cam4" / "0002" / "0001.jpg"  # of the test split: every image is decoded
    torn.write_bytes(torn.read_bytes()[:200])
    for camera in (3, 6):
        for image in (sysu / f"cam{camera}" / "0003").iterdir():
            image.unlink()
    (sysu / "exp" / "train_id.txt").write_text("1,3,8")
    write_crop(sysu / "cam1" / "0007" / "0001.jpg")
    assert main(["check", "--dataset", "sysu-mm01", "--data", str(sysu), "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["sound"] is False
    assert [(error["what"], error["count"]) for error in report["errors"]] == [
        ("1 train id without any image", 1),
        ("1 identity without an infrared image", 1),
        ("1 unreadable image", 1),
    ]
    assert report["errors"][2]["where"][0].startswith(f"{torn} (cannot decode the JPEG image")
    assert report["remarks"] == [
        {"what": "1 folder of an id in no split", "count": 1, "where": ["cam1/0007"]}
    ]
    assert main(["check", "--dataset", "sysu-mm01", "--data", str(sysu)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines[4:]] == ["error"] * 3 + [
        "remark",
        "3 kinds of error",
    ]


def test_a_recipe_adds_whether_its_batches_can_be_filled(
    sysu: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["check", "--dataset", "sysu-mm01", "--data", str(sysu), "--recipe", "demo"]
    assert main(arguments) == 1
    assert "error: a batch holds 16 identities, the training set has 2" in capsys.readouterr().out


def test_every_layout_is_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_regdb(tmp_path / "regdb", train=range(1, 11), test=[11, 12])
    write_llcm(tmp_path / "llcm", train=range(1, 11), test=[11])
    rows = ["a.png,anna,gate,visible,train", "b.png,anna,yard,infrared,train"]
    write_manifest(tmp_path / "manifest", rows)
    for name in ("regdb", "llcm", "manifest"):
        assert main(["check", "--dataset", name, "--data", str(tmp_path / name)]) == 0, name
    printed = capsys.readouterr().out
    assert "remark: no validation, hence no best checkpoint: no identity is held out" in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dataset", "sysu-mm01", "--data", "nowhere"], "nowhere: no such dataset folder"),
        (["--dataset", "manifest", "--data", "."], "manifest.csv: no such manifest"),
        (
            ["--dataset", "sysu-mm01", "--data", ".", "--recipe", "dmeo"],
            "no recipe 'dmeo'",
        ),
    ],
)
def test_nothing_to_check_is_one_line_and_exit_code_2(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["check", *arguments]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("mpanet check: error: ")
    assert message in line


def test_it_runs_without_torch(sysu: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = sys.modules['lightning'] = sys.modules['scipy'] = None;"
        "from mpanet.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    arguments = ["check", "--dataset", "sysu-mm01", "--data", str(sysu), "--recipe", "demo"]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "a batch holds 16 identities" in done.stdout
