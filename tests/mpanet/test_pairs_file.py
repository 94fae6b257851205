"""A CSV of labelled pairs: what it may say, and what is refused with its line."""

from pathlib import Path

import pytest

from model.config import Modality
from mpanet.errors import CommandError
from mpanet.pairs_file import LabelledPair, read_pairs

HEADER = "path_a,modality_a,path_b,modality_b,same"
WITH_PERSONS = f"{HEADER},person_a,person_b"
PAIR = "a.png,visible,b.png,infrared"


def written(folder: Path, *lines: str) -> Path:
    (folder / "pairs.csv").write_bytes("\n".join(lines).encode())
    return folder / "pairs.csv"


@pytest.mark.parametrize(
    ("said", "same"), [("1", True), ("TRUE", True), ("0", False), ("false", False)]
)
def test_paths_are_relative_to_the_file(tmp_path: Path, said: str, same: bool) -> None:
    modalities = (Modality.VISIBLE, Modality.INFRARED)
    paths = (tmp_path / "a.png", tmp_path / "b.png")
    assert read_pairs(written(tmp_path, HEADER, "", f"{PAIR},{said}")) == [
        LabelledPair(paths, modalities, same, None)
    ]


def test_columns_are_known_by_name_and_may_say_who(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        "\ufeffperson_b, same,modality_b,path_b,modality_a,path_a,person_a",
        "ben,0,visible,b.png,infrared,/elsewhere/a.png,ann",
    )
    [pair] = read_pairs(file)
    assert pair.paths == (Path("/elsewhere/a.png"), tmp_path / "b.png")
    assert pair.modalities == (Modality.INFRARED, Modality.VISIBLE)
    assert (pair.same, pair.persons) == (False, ("ann", "ben"))


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([f"{HEADER},person_a", f"{PAIR},1,ann"], "came 'path_a,modality_a,path_b"),
        ([f"{HEADER},cameras", f"{PAIR},1,door"], "expected a first line path_a,"),
        ([f"{HEADER},same", f"{PAIR},1,0"], "expected a first line path_a,"),
        ([HEADER, f"{PAIR},1", f"{PAIR}"], "line 3: expected 5 fields, came 4"),
        ([HEADER, f"{PAIR},1,ann"], "line 2: expected 5 fields, came 6"),
        ([HEADER, f"{PAIR}, "], "line 2: same is empty"),
        ([HEADER, ",visible,b.png,infrared,1"], "line 2: path_a is empty"),
        ([HEADER, f"{PAIR},yes"], "line 2: same is 1, 0, true or false, not 'yes'"),
        ([HEADER, "a\0.png,visible,b.png,visible,1"], "line 2: path_a has a NUL character"),
        ([HEADER, "a,visible,a,visible,1"], "line 2: expected two crops, came 'a' twice"),
        ([HEADER, f"{PAIR},1", "a.png,infrared,c.png,visible,0"], "line 3: .*a.png is infrared"),
        ([HEADER, '"a'], "expected CSV in UTF-8"),
        ([WITH_PERSONS, f"{PAIR},1,ann,ben"], "same is 1, but the persons are 'ann' and 'ben'"),
        ([WITH_PERSONS, f"{PAIR},0,ann,ann"], "same is 0, but the persons are 'ann' and 'ann'"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_line(
    tmp_path: Path, lines: list[str], message: str
) -> None:
    with pytest.raises(CommandError, match=message):
        read_pairs(written(tmp_path, *lines))


def test_more_crops_than_fit_into_memory_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mpanet.pairs_file.MAX_CROPS", 3)
    few = [HEADER, "a,visible,b,visible,1", "a,visible,c,visible,0"]
    assert len(read_pairs(written(tmp_path, *few))) == 2
    with pytest.raises(CommandError, match="line 4: expected at most 3 different crops"):
        read_pairs(written(tmp_path, *few, "d,visible,a,visible,0"))
