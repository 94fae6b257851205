"""Own cameras by manifest."""

from pathlib import Path

import pytest

from model.config import Modality
from tests.training.layouts import write_crop, write_manifest
from training.datasets.manifest import read_manifest, survey_manifest
from training.errors import DatasetError

HEADER = "path,person_id,camera_id,modality,split"
ANNA = ["a.png,anna,gate,visible,train", "b.png,anna,yard,infrared,train"]


def test_rows_become_samples_with_numbered_persons_and_cameras(tmp_path: Path) -> None:
    rows = [
        "b.png,anna,gate,visible,train",
        "a.png,anna,yard,infrared,train",
        "c.png,bob,gate,visible,val",
        "d.png,carl,yard,infrared,test",
    ]
    dataset = read_manifest(write_manifest(tmp_path, rows))
    first, second = dataset.train
    assert (first.path.name, first.person_id, first.camera_id) == ("a.png", 1, 2)
    assert (second.path.name, second.modality) == ("b.png", Modality.VISIBLE)
    assert [sample.person_id for sample in dataset.validation] == [2]
    assert [sample.person_id for sample in dataset.test] == [3]


def test_without_val_rows_every_tenth_person_is_held_out(tmp_path: Path) -> None:
    rows = [f"{number:02d}.png,p{number:02d},gate,visible,train" for number in range(1, 21)]
    dataset = read_manifest(write_manifest(tmp_path, rows))
    assert [sample.person_id for sample in dataset.validation] == [10, 20]


def test_a_manifest_only_for_testing_reads(tmp_path: Path) -> None:
    dataset = read_manifest(write_manifest(tmp_path, ["a.png,anna,gate,visible,test"]))
    assert (len(dataset.train), len(dataset.test)) == (0, 1)


def test_byte_order_mark_windows_lines_blank_lines_and_spaces_mean_nothing(tmp_path: Path) -> None:
    write_manifest(tmp_path, ANNA)
    text = f"{HEADER}\n\n a.png , anna,gate,visible,train\nb.png,anna ,yard,infrared, train\n ,,\n"
    data = b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode()
    (tmp_path / "manifest.csv").write_bytes(data)
    first, second = read_manifest(tmp_path).train
    assert (first.path.name, first.person_id, second.person_id) == ("a.png", 1, 1)


def test_names_may_be_quoted_and_of_any_script(tmp_path: Path) -> None:
    write_crop(tmp_path / "tor, süd" / "安.png")
    row = '"tor, süd/安.png","安, 娜",gate,visible,train'
    (tmp_path / "manifest.csv").write_text(f"{HEADER}\n{row}\n", encoding="utf-8")
    [sample] = read_manifest(tmp_path).train
    assert sample.path == tmp_path / "tor, süd" / "安.png"


def test_other_columns_are_remarked_and_change_nothing(tmp_path: Path) -> None:
    rows = [f"{row},noon" for row in ANNA[:1]] + ANNA[1:]
    dataset = read_manifest(write_manifest(tmp_path, rows, header=f"{HEADER},captured_at"))
    assert len(dataset.train) == 2
    [remark] = dataset.remarks
    assert str(remark) == "1 column that nobody reads: captured_at"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            "a.png,anna,gate,thermal,train",
            r"line 3 \(a.png\): modality is visible or infrared, not 'thermal'",
        ),
        (
            "a.png,anna,gate,visible,dev",
            r"line 3 \(a.png\): split is train, val or test, not 'dev'",
        ),
        ("a.png,,gate,visible,train", r"line 3 \(a.png\): person_id is empty"),
        ("a.png,anna,gate", r"line 3 \(a.png\): modality is empty and split is empty"),
        (
            "a.png,anna,gate,Visible,Train",
            r"line 3 \(a.png\): modality is .*, not 'Visible' and split is .*, not 'Train'",
        ),
        ("a.png,anna,gate,visible,train,7", r"line 3 \(a.png\): expected 5 fields, found 6"),
        (",anna,gate,visible,train", r"line 3 \(\): path is empty"),
        (
            "../a.png,anna,gate,visible,train",
            r"line 3 \(../a.png\): path lies below the manifest's folder, not '../a.png'",
        ),
        (
            "x/../../a.png,anna,gate,visible,train",
            r"line 3 \(x/../../a.png\): path lies below the manifest's folder, not 'x/",
        ),
        ("..,anna,gate,visible,train", r"line 3 \(..\): path lies below .* folder, not '..'"),
    ],
)
def test_a_bad_row_is_named_by_line_column_value_and_what_was_expected(
    tmp_path: Path, row: str, message: str
) -> None:
    root = write_manifest(tmp_path / "crops", ["good.png,anna,gate,visible,train", row])
    with pytest.raises(DatasetError, match=f"1 of 2 rows of manifest.csv is bad: {message}") as err:
        read_manifest(root)
    assert "\n" not in str(err.value)


def test_an_absolute_path_is_refused_outside_the_folder_and_taken_inside(tmp_path: Path) -> None:
    root = tmp_path / "crops"
    write_manifest(root, [f"{root}/a.png,anna,gate,visible,train"])
    assert [sample.path for sample in read_manifest(root).train] == [root / "a.png"]
    write_manifest(root, [f"{tmp_path}/a.png,anna,gate,visible,train"])
    with pytest.raises(DatasetError, match="path lies below the manifest's folder"):
        read_manifest(root)


def test_many_bad_rows_are_counted_and_the_first_shown_in_one_line(tmp_path: Path) -> None:
    rows = [f"{n}.png,anna,gate,thermal,train" for n in range(7)]
    with pytest.raises(DatasetError) as caught:
        read_manifest(write_manifest(tmp_path, [*rows, *ANNA]))
    message = str(caught.value)
    assert "7 of 9 rows of manifest.csv are bad: line 2 (0.png)" in message
    assert "line 4 (2.png)" in message
    assert "line 5" not in message
    assert message.endswith(" and 4 more")
    assert "\n" not in message


def test_everything_wrong_is_said_at_once(tmp_path: Path) -> None:
    rows = [*ANNA, "c.png,bob,gate,sepia,train", "./d.png,carl,gate,visible,train"]
    rows += ["d.png,carl,gate,visible,train", "e.png,anna,gate,visible,test"]
    root = write_manifest(tmp_path, rows)
    (root / "b.png").unlink()
    errors = [str(problem) for problem in survey_manifest(root).errors]
    assert errors == [
        "1 of 6 rows of manifest.csv is bad: line 4 (c.png):"
        " modality is visible or infrared, not 'sepia'",
        f"1 image listed twice: {root}/d.png (lines 5, 6)",
        "1 person in two splits: anna (train line 2, test line 7)",
        f"1 of 4 images of split train is missing: {root}/b.png",
    ]


def test_a_folder_or_an_impossible_name_is_a_missing_image(tmp_path: Path) -> None:
    root = write_manifest(tmp_path, ANNA[:1])
    (root / "folder.png").mkdir()
    names = ["a.png", "folder.png", "x" * 300 + ".png", "nul\0.png"]
    lines = [f"{name},anna,gate,visible,train" for name in names]
    (root / "manifest.csv").write_text("\n".join([HEADER, *lines]))
    with pytest.raises(DatasetError, match="3 of 4 images of split train are missing") as caught:
        read_manifest(root)
    assert r"nul\x00.png" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", f"empty; expected a first line {HEADER}"),
        ("\n \n", f"empty; expected a first line {HEADER}"),
        (HEADER + "\n", "no row follows the first line"),
        (
            "a.png,anna,gate,visible,train\n",
            "columns path, person_id, camera_id, modality, split are missing; expected .*'a.png,an",
        ),
        (HEADER.replace(",", ";") + "\n", "are missing; expected a first line path,.*'path;person"),
        ("path,person_id,modality\n", "the columns camera_id, split are missing"),
        (HEADER + ",path\nx\n", "the columns path are named twice"),
        (HEADER + '\n"a.png,anna,gate,visible,train\n', "line 2: not CSV"),
    ],
)
def test_a_file_that_is_no_manifest_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "manifest.csv").write_text(text)
    with pytest.raises(DatasetError, match=rf"manifest\.csv: .*{message}"):
        read_manifest(tmp_path)


def test_a_manifest_in_another_encoding_is_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_bytes(f"{HEADER}\nsüd.png,anna\n".encode("latin-1"))
    with pytest.raises(DatasetError, match=r"manifest\.csv: cannot be read: 'utf-8' codec"):
        read_manifest(tmp_path)


def test_a_missing_manifest_and_a_missing_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"manifest\.csv: no such manifest"):
        read_manifest(tmp_path)
    with pytest.raises(DatasetError, match="nowhere: no such dataset folder"):
        read_manifest(tmp_path / "nowhere")
