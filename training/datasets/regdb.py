"""The RegDB layout: `idx/{train,test}_{visible,thermal}_{1..10}.txt`, lines `path label`.

Owns the layout only; the evaluation protocol is `training.protocols.regdb`. RegDB has one camera a
modality: 1 is visible, 2 is thermal.
"""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from model.config import Modality
from training.datasets.folders import listed
from training.datasets.index_files import read_label_list
from training.datasets.names import is_folder, whole_number
from training.datasets.problems import Findings
from training.datasets.sample import Dataset, Sample, hold_out, present, require_folder, sound
from training.errors import DatasetError

SPLITS = range(1, 11)
HOLD_OUT_EVERY = 10
FILES = (("visible", Modality.VISIBLE, 1), ("thermal", Modality.INFRARED, 2))


def read_regdb(root: Path, split: int = 1) -> Dataset:
    """Read one of the ten splits of a dataset in the RegDB layout.

    Raises:
        DatasetError: one report of everything that `survey_regdb` finds wrong.
    """
    return sound(survey_regdb(root, split))


def survey_regdb(root: Path, split: int = 1) -> Dataset:
    """Read what can be read of one of the ten splits of a dataset in the RegDB layout.

    RegDB publishes no validation identities: every tenth training identity is held out. Labels
    count from 0 in each part, so `person_id` tells persons apart within train and within test only;
    the folders, `{Visible,Thermal}/{number}/`, tell whether a person is in both.

    Its errors: index files that are missing or unreadable, malformed lines, images that are
    missing, listed twice or in both parts, persons in both parts. Its remarks: folders that no list
    names, and labels that stand for several folders' numbers.

    Raises:
        DatasetError: there is no such folder or split.
    """
    require_folder(root)
    if split not in SPLITS:
        raise DatasetError(f"{root}: RegDB splits are 1 to 10, not {split}")
    findings = Findings()
    trained = _read_part(root, "train", split, findings)
    tested = _read_part(root, "test", split, findings)
    _check_disjoint(trained, tested, findings)
    _check_folders(root, [*trained, *tested], findings)
    kept, held = hold_out(trained, HOLD_OUT_EVERY)
    errors, remarks = tuple(findings.errors), tuple(findings.remarks)
    return Dataset("regdb", root, kept, held, tested, errors, remarks)


def available_splits(root: Path) -> list[int]:
    """The splits whose test index files exist, ascending."""
    return [
        split
        for split in SPLITS
        if all((root / "idx" / f"test_{word}_{split}.txt").is_file() for word, _, _ in FILES)
    ]


def _read_part(root: Path, part: str, split: int, findings: Findings) -> tuple[Sample, ...]:
    samples: list[Sample] = []
    for word, modality, camera_id in FILES:
        index = root / "idx" / f"{part}_{word}_{split}.txt"
        rows = read_label_list(index, root, findings)
        samples.extend(Sample(path, label, camera_id, modality) for path, label in rows)
    samples = present(samples, f"images that the {part} lists of split {split} name", findings)
    _check_labels(samples, part, findings)
    return tuple(sorted(samples, key=lambda sample: (sample.modality.value, sample.path)))


def _check_labels(samples: Sequence[Sample], part: str, findings: Findings) -> None:
    """One label is one person: its visible and thermal images lie in folders of one number."""
    numbers: dict[int, set[int]] = defaultdict(set)
    for sample in samples:
        number = whole_number(sample.path.parent.name)
        if number is not None:
            numbers[sample.person_id].add(number)
    several = [
        f"label {label} (folders {', '.join(str(number) for number in sorted(found))})"
        for label, found in sorted(numbers.items())
        if len(found) > 1
    ]
    findings.remark(
        several, f"{part} label over several persons", f"{part} labels over several persons"
    )


def _check_disjoint(
    trained: Sequence[Sample], tested: Sequence[Sample], findings: Findings
) -> None:
    shared = {sample.path for sample in trained} & {sample.path for sample in tested}
    findings.error(sorted(shared), "image in both train and test", "images in both train and test")
    folders = {sample.path.parent for sample in trained} & {
        sample.path.parent for sample in tested if sample.path not in shared
    }
    persons = sorted(folder for folder in folders if whole_number(folder.name) is not None)
    findings.error(persons, "person in both train and test", "persons in both train and test")


def _check_folders(root: Path, samples: Sequence[Sample], findings: Findings) -> None:
    """Remark the persons' folders that no list of the split names."""
    named = {sample.path.parent for sample in samples}
    strangers = [
        folder
        for parent in sorted({folder.parent for folder in named} - {root})
        for folder in listed(parent, findings)
        if folder not in named and whole_number(folder.name) is not None and is_folder(folder)
    ]
    findings.remark(strangers, "folder that no list names", "folders that no list names")
