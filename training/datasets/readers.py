"""The readers by the names that the command line uses."""

from pathlib import Path
from typing import Literal

from training.datasets.manifest import read_manifest
from training.datasets.regdb import read_regdb
from training.datasets.sample import Dataset
from training.datasets.sysu_mm01 import read_sysu_mm01

DatasetName = Literal["sysu-mm01", "regdb", "manifest"]


def read_dataset(name: DatasetName, root: Path, *, split: int = 1) -> Dataset:
    """Read a dataset by name; `split` chooses among RegDB's ten.

    Raises:
        DatasetError: the files are not as the layout says.
    """
    if name == "sysu-mm01":
        return read_sysu_mm01(root)
    if name == "regdb":
        return read_regdb(root, split)
    return read_manifest(root)
