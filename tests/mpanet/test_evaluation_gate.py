"""The evaluation set of a service: figures worked out by hand, and what cannot be used."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from mpanet.errors import CommandError
from mpanet.evaluation_gate import EvaluationSet, evaluation_set
from service.errors import EvaluationFailedError
from tests.training.layouts import write_crop, write_manifest, write_regdb, write_sysu

# Two persons, one camera of each modality. By the cosines
#                a.v    b.v
#         a.i    0.500  0.993
#         b.i    0.700  0.991
# an infrared crop of a finds b first (AP 1/2), one of b finds b (AP 1); of the visible crops
# both find the other first (AP 1/2).
VECTORS = {"a.v": (1.0, 0.0), "b.v": (0.6, 0.8), "a.i": (0.5, 0.866), "b.i": (0.7, 0.714)}
ROWS = [
    "a.v.png,a,c1,visible,test",
    "b.v.png,b,c1,visible,test",
    "a.i.png,a,c2,infrared,test",
    "b.i.png,b,c2,infrared,test",
]


class Embedder:
    """Knows each crop by its bytes."""

    def __init__(self, root: Path) -> None:
        self.known = {(root / f"{name}.png").read_bytes(): v for name, v in VECTORS.items()}
        self.calls: list[int] = []

    def __call__(self, crops: Sequence[bytes]) -> Sequence[NDArray[np.float32] | None]:
        self.calls.append(len(crops))
        return [np.array(self.known[crop], np.float32) for crop in crops]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_manifest(tmp_path / "set", ROWS)
    for level, name in enumerate(VECTORS, start=50):
        write_crop(tmp_path / "set" / f"{name}.png", level)
    return tmp_path / "set"


def test_the_figures_of_both_directions_and_their_mean(root: Path) -> None:
    measured = evaluation_set(str(root))(Embedder(root))
    assert measured == pytest.approx(
        {
            "mAP": 62.5,
            "rank1": 25.0,
            "infrared-to-visible mAP": 75.0,
            "infrared-to-visible rank1": 50.0,
            "visible-to-infrared mAP": 50.0,
            "visible-to-infrared rank1": 0.0,
        }
    )


def test_every_crop_is_embedded_once_some_at_a_time(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mpanet.evaluation_gate.CROPS_AT_ONCE", 3)
    embedder = Embedder(root)
    measured = evaluation_set(str(root))
    assert measured.crops == 4
    measured(embedder)
    assert embedder.calls == [3, 1]


def test_a_dataset_by_its_name(tmp_path: Path) -> None:
    sysu = evaluation_set(f"sysu-mm01:{write_sysu(tmp_path / 'a:b', train=[1], test=[2, 3])}")
    assert sysu.crops == 2 * 6 * 2
    assert set(sysu(_all_alike)) == {"mAP", "rank1"}
    regdb = evaluation_set(f"regdb:{write_regdb(tmp_path / 'regdb', train=[1], test=[2, 3])}")
    assert "thermal-to-visible mAP" in regdb(_all_alike)


def test_a_folder_with_a_colon_in_its_name(root: Path) -> None:
    assert isinstance(evaluation_set(str(root.rename(root.with_name("s:t")))), EvaluationSet)


@pytest.mark.parametrize("text", ["nowhere", "regdb:nowhere", "mars:nowhere"])
def test_a_set_that_is_not_there_is_said_at_the_start(tmp_path: Path, text: str) -> None:
    before, colon, folder = text.rpartition(":")
    with pytest.raises(CommandError, match="nowhere"):
        evaluation_set(f"{before}{colon}{tmp_path / folder}")


def test_a_set_of_one_modality(tmp_path: Path) -> None:
    write_manifest(tmp_path, ROWS[:2])
    with pytest.raises(CommandError, match="only visible images"):
        evaluation_set(str(tmp_path))


def test_a_crop_that_cannot_be_embedded_is_named(root: Path) -> None:
    def none_of_them(crops: Sequence[bytes]) -> Sequence[NDArray[np.float32] | None]:
        return [None for _ in crops]

    with pytest.raises(EvaluationFailedError, match=r"a\.i\.png cannot be embedded"):
        evaluation_set(str(root))(none_of_them)


def test_a_crop_that_is_gone_by_then_is_named(root: Path) -> None:
    measured = evaluation_set(str(root))
    (root / "b.v.png").unlink()
    with pytest.raises(EvaluationFailedError, match=r"b\.v\.png cannot be read"):
        measured(_all_alike)


def test_what_embeds_may_break_off(root: Path) -> None:
    def broken_off(crops: Sequence[bytes]) -> Sequence[NDArray[np.float32] | None]:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        evaluation_set(str(root))(broken_off)


def _all_alike(crops: Sequence[bytes]) -> Sequence[NDArray[np.float32] | None]:
    return [np.array([1.0, 0.0], np.float32) for _ in crops]
