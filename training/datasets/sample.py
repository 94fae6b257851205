"""Sample and Dataset: what every reader returns. Knows no layout and opens no image."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from model.config import Modality
from training.datasets.names import is_file, is_folder
from training.datasets.problems import Findings, Problem, raise_for
from training.errors import DatasetError


@dataclass(frozen=True, slots=True)
class Sample:
    """One crop on disk: whom it shows, which camera took it, in which modality."""

    path: Path
    person_id: int
    camera_id: int
    modality: Modality


@dataclass(frozen=True)
class Dataset:
    """A dataset read from disk, its identities split into three disjoint groups.

    `train` teaches, `validation` (held-out training identities) selects the checkpoint, `test` is
    only for the published protocol. Samples are in an order of names, so that a seed means the same
    draw on every machine. `errors` and `remarks` are what its reader found wrong.
    """

    name: str
    root: Path
    train: tuple[Sample, ...]
    validation: tuple[Sample, ...]
    test: tuple[Sample, ...]
    errors: tuple[Problem, ...] = ()
    remarks: tuple[Problem, ...] = ()


def sound(dataset: Dataset) -> Dataset:
    """The dataset, where its reader found no error.

    Raises:
        DatasetError: one report of every error.
    """
    raise_for(dataset.root, dataset.errors)
    return dataset


def require_folder(root: Path) -> None:
    """Raises: DatasetError if the dataset's folder is not there or cannot be entered."""
    if not is_folder(root):
        raise DatasetError(f"{root}: no such dataset folder")


def present(samples: Sequence[Sample], what: str, findings: Findings) -> list[Sample]:
    """The samples whose file is there; the others (`what`: images that ...) go to `findings`."""
    found = [sample for sample in samples if is_file(sample.path)]
    missing = {sample.path for sample in samples} - {sample.path for sample in found}
    of_all = f"of {len(samples):,} {what}"
    findings.error(sorted(missing), f"{of_all} is missing", f"{of_all} are missing")
    return found


def require(samples: Sequence[Sample], part: str, root: Path) -> None:
    """Refuse an empty part of a dataset, where it is about to be used.

    Raises:
        DatasetError: there is no sample.
    """
    if not samples:
        raise DatasetError(f"{root}: the {part} split is empty")


def person_ids(samples: Sequence[Sample]) -> list[int]:
    """The distinct identities among samples, ascending."""
    return sorted({sample.person_id for sample in samples})


def hold_out(
    samples: Sequence[Sample], every: int
) -> tuple[tuple[Sample, ...], tuple[Sample, ...]]:
    """Split off every `every`-th identity (in ascending order of id) for validation.

    Returns (kept, held out). For datasets that publish no validation identities.
    """
    held = set(person_ids(samples)[every - 1 :: every])
    kept = tuple(sample for sample in samples if sample.person_id not in held)
    return kept, tuple(sample for sample in samples if sample.person_id in held)
