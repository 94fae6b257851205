"""`mpanet gallery`: the exit code says whether a directory is sound."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gallery_index.gallery import Gallery
from gallery_index.records import NewEntry
from model.encoder import Encoder
from model.preprocessing import read_image
from mpanet.cli import main
from mpanet.commands.serve import demo_model_directory


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A closed gallery of two entries."""
    data = tmp_path / "data"
    gallery = Gallery.open(data, model_id="m", embedding_dim=4)
    for number in range(2):
        embedding = np.eye(4, dtype=np.float32)[number]
        gallery.add([NewEntry(embedding, b"crop", "image/png", "visible", f"e{number}")])
    gallery.close()
    return data


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


def test_rebuild_takes_no_other_model_than_the_gallery_s(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["gallery", "rebuild", "--data", str(data), "--model", "demo"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "--model: demo is " in line
    assert line.endswith("the gallery is of m")


def test_rebuild_embeds_a_damaged_row_anew_by_the_gallery_s_own_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "own"
    picture = io.BytesIO()
    Image.new("RGB", (24, 64), (200, 30, 90)).save(picture, "PNG")
    with Encoder.open(demo_model_directory()) as encoder:
        inputs = encoder.prepare(read_image(picture.getvalue()))[None]
        embedding = encoder.encode(inputs).embedding[0]
        gallery = Gallery.open(data, model_id=encoder.model_id, embedding_dim=len(embedding))
    gallery.add([NewEntry(embedding, picture.getvalue(), "image/png", "visible", "e0")])
    gallery.close()
    for snapshot in (data / "snapshots").iterdir():
        snapshot.unlink()
    damage(data)
    assert main(["gallery", "rebuild", "--data", str(data)]) == 1
    assert "row 0 (entry 'e0') fails its checksum" in capsys.readouterr().err
    assert main(["gallery", "rebuild", "--data", str(data), "--model", "demo"]) == 0
    assert "1 damaged rows mended" in capsys.readouterr().out
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


def test_a_served_gallery_is_backed_up_and_restored(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    backup, again = str(tmp_path / "backup"), str(tmp_path / "again")
    gallery = Gallery.open(data, model_id="m", embedding_dim=4)
    assert main(["gallery", "backup", "--data", str(data), "--out", backup]) == 0
    assert capsys.readouterr().out.startswith("2 entries, 0.0 MB in ")
    gallery.close()
    assert main(["gallery", "restore", "--backup", backup, "--data", again]) == 0
    assert capsys.readouterr().out == f"2 entries restored into {again}, records in sqlite\n"
    assert main(["gallery", "verify", "--data", again]) == 0


def test_backup_and_restore_report_in_json(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    backup, again = str(tmp_path / "backup"), str(tmp_path / "again")
    assert main(["gallery", "backup", "--data", str(data), "--out", backup, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    size = sum(path.stat().st_size for path in Path(backup).glob("*-000000.*"))
    gallery_id = report.pop("gallery_id")
    nothing = {"deleted_meanwhile": 0, "without_vector": 0}
    assert report == {"model_id": "m", "entries": 2, "bytes": size, **nothing}
    assert main(["gallery", "restore", "--backup", backup, "--data", again, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "gallery_id": gallery_id, "model_id": "m", "store": "sqlite", "entries": 2, "rows": 2
    }  # fmt: skip


def test_a_damaged_gallery_is_not_backed_up_and_exits_1(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(data)
    backup = tmp_path / "backup"
    assert main(["gallery", "backup", "--data", str(data), "--out", str(backup)]) == 1
    error = capsys.readouterr().err
    assert "row 1 (entry 'e1') fails its checksum" in error
    assert error.count("\n") == 1
    assert not backup.exists()


def test_a_damaged_backup_is_not_restored_and_exits_1(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    backup, again = tmp_path / "backup", tmp_path / "again"
    main(["gallery", "backup", "--data", str(data), "--out", str(backup)])
    (backup / "crops-000000.tar").write_bytes(b"cut off")
    assert main(["gallery", "restore", "--backup", str(backup), "--data", str(again)]) == 1
    error = capsys.readouterr().err
    assert "crops-000000.tar has 7 bytes, expected 3072 bytes" in error
    assert not again.exists()


def test_what_cannot_be_backed_up_or_restored_exits_2_in_one_line(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nothing = tmp_path / "nothing"
    for arguments, expected in (
        (["backup", "--data", str(nothing), "--out", "x"], "nothing is not a directory"),
        (["backup", "--data", str(data), "--out", str(data)], "is there already"),
        (["restore", "--backup", str(nothing), "--data", "x"], "no finished backup in"),
    ):
        assert main(["gallery", *arguments]) == 2
        error = capsys.readouterr().err
        assert expected in error
        assert error.count("\n") == 1
