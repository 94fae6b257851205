"""The readers by the names that the command line uses."""

from pathlib import Path
from typing import Literal

from training.datasets.llcm import survey_llcm
from training.datasets.manifest import survey_manifest
from training.datasets.regdb import survey_regdb
from training.datasets.sample import Dataset, sound
from training.datasets.sysu_mm01 import survey_sysu_mm01

DatasetName = Literal["sysu-mm01", "regdb", "llcm", "manifest"]


def read_dataset(name: DatasetName, root: Path, *, split: int = 1) -> Dataset:
    """Read a dataset by name; `split` chooses among RegDB's ten.

    Raises:
        DatasetError: one report of everything that is not as the layout says.
    """
    return sound(survey_dataset(name, root, split=split))


def survey_dataset(name: DatasetName, root: Path, *, split: int = 1) -> Dataset:
    """Read what can be read, with everything wrong in `errors`: for one report with what follows.

    Raises:
        DatasetError: there is nothing to read: no folder, no manifest, no such split.
    """
    if name == "sysu-mm01":
        return survey_sysu_mm01(root)
    if name == "regdb":
        return survey_regdb(root, split)
    if name == "llcm":
        return survey_llcm(root)
    return survey_manifest(root)
