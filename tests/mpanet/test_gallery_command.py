"""`mpanet gallery`: the exit code says whether a directory is sound."""

import json
from pathlib import Path

import numpy as np
import pytest

from gallery_index.gallery import Gallery
from gallery_index.records import NewEntry
from mpanet.cli import main


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A closed gallery of two entries."""
    gallery = Gallery.open(tmp_path, model_id="m", embedding_dim=4)
    for number in range(2):
        embedding = np.eye(4, dtype=np.float32)[number]
        gallery.add([NewEntry(embedding, b"crop", "image/png", "visible", f"e{number}")])
    gallery.close()
    return tmp_path


def damage(data: Path) -> None:
    """Flip a bit in the vector of the last row."""
    path = data / "vectors.bin"
    content = bytearray(path.read_bytes())
    content[-8] ^= 1
    path.write_bytes(content)


def test_a_sound_gallery_exits_0(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gallery", "verify", "--data", str(data)]) == 0
    out = capsys.readouterr().out
    assert "2 entries, 2 rows, 2 crops" in out
    assert out.endswith("sound\n")


def test_a_damaged_gallery_exits_1_and_names_the_row(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(data)
    assert main(["gallery", "verify", "--data", str(data), "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] is False
    assert "row 1 (entry 'e1')" in report["problems"][0]


def test_rebuild_mends_a_row_from_the_snapshot(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(data)
    assert main(["gallery", "rebuild", "--data", str(data), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"entries": 2, "mended_rows": 1}
    assert main(["gallery", "verify", "--data", str(data)]) == 0


def test_a_gallery_that_cannot_be_opened_exits_1(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (data / "metadata.sqlite").write_bytes(b"not a database" * 100)
    assert main(["gallery", "verify", "--data", str(data)]) == 1
    assert "metadata.sqlite" in capsys.readouterr().err


def test_a_served_gallery_is_left_alone(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gallery = Gallery.open(data, model_id="m", embedding_dim=4)
    assert main(["gallery", "verify", "--data", str(data)]) == 2
    assert "in use by process" in capsys.readouterr().err
    gallery.close()


def test_a_directory_without_a_gallery_is_refused_and_stays_empty(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["gallery", "verify", "--data", str(tmp_path)]) == 2
    assert "no gallery" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    assert main(["gallery", "verify", "--data", str(tmp_path / "missing")]) == 2
