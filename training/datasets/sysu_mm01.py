"""The SYSU-MM01 layout: `cam{1..6}/{id:04d}/{n:04d}.jpg` and `exp/{train,val,test}_id.txt`.

Owns the layout only; the evaluation protocol is `training.protocols.sysu_mm01`.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path

from model.config import Modality
from training.datasets.folders import persons_below
from training.datasets.index_files import read_ids
from training.datasets.names import is_folder
from training.datasets.problems import Findings
from training.datasets.sample import Dataset, Sample, require_folder, sound
from training.errors import DatasetError

CAMERAS = range(1, 7)
INFRARED_CAMERAS = (3, 6)
SPLITS = ("train", "val", "test")


def read_sysu_mm01(root: Path) -> Dataset:
    """Read a dataset in the SYSU-MM01 layout.

    Raises:
        DatasetError: one report of everything that `survey_sysu_mm01` finds wrong.
    """
    return sound(survey_sysu_mm01(root))


def survey_sysu_mm01(root: Path) -> Dataset:
    """Read what can be read of a dataset in the SYSU-MM01 layout.

    Its errors: missing camera folders, index files that are missing or hold something else, ids in
    two splits or without any image, folders that cannot be listed. Its remarks: folders of ids in
    no split, as the published dataset has some.

    Raises:
        DatasetError: there is no such folder.
    """
    require_folder(root)
    findings = Findings()
    cameras = _present_cameras(root, findings)
    ids = {split: _read_ids(root / "exp" / f"{split}_id.txt", findings) for split in SPLITS}
    for one, other in combinations(SPLITS, 2):
        shared = sorted((ids[one] or set()) & (ids[other] or set()))
        findings.error(shared, f"id in both {one} and {other}", f"ids in both {one} and {other}")
    by_person = _samples_by_person(root, cameras, findings)
    if cameras:
        _check_ids(root, ids, by_person, findings)
    train, val, test = (
        tuple(s for person_id in sorted(ids[split] or ()) for s in by_person.get(person_id, ()))
        for split in SPLITS
    )
    errors, remarks = tuple(findings.errors), tuple(findings.remarks)
    return Dataset("sysu-mm01", root, train, val, test, errors, remarks)


def modality_of(camera_id: int) -> Modality:
    """The modality of a SYSU-MM01 camera: 3 and 6 are infrared."""
    return Modality.INFRARED if camera_id in INFRARED_CAMERAS else Modality.VISIBLE


def _present_cameras(root: Path, findings: Findings) -> list[int]:
    missing = [camera for camera in CAMERAS if not is_folder(root / f"cam{camera}")]
    are_missing = f"of {len(CAMERAS)} camera folders are missing"
    findings.error([f"cam{camera}" for camera in missing], are_missing, are_missing)
    return [camera for camera in CAMERAS if camera not in missing]


def _read_ids(path: Path, findings: Findings) -> set[int] | None:
    """The ids of a split; None where the file cannot be used."""
    try:
        return set(read_ids(path))
    except DatasetError as error:
        findings.error([error], "unusable index file", "unusable index files")
        return None


def _samples_by_person(
    root: Path, cameras: Sequence[int], findings: Findings
) -> dict[int, list[Sample]]:
    found: dict[int, list[Sample]] = defaultdict(list)
    for camera_id in cameras:
        for person_id, images in persons_below(root / f"cam{camera_id}", findings):
            found[person_id] += [
                Sample(image, person_id, camera_id, modality_of(camera_id)) for image in images
            ]
    return found


def _check_ids(
    root: Path,
    ids: Mapping[str, set[int] | None],
    by_person: Mapping[int, Sequence[Sample]],
    findings: Findings,
) -> None:
    """Compare the ids of the splits with the folders that hold images."""
    for split, wanted in ids.items():
        bare = [person_id for person_id in sorted(wanted or ()) if not by_person.get(person_id)]
        findings.error(bare, f"{split} id without any image", f"{split} ids without any image")
    if None in ids.values():  # whose folders are strangers is not known
        return
    used = set().union(*(wanted or () for wanted in ids.values()))
    strangers = {
        sample.path.parent.relative_to(root)
        for person_id in by_person.keys() - used
        for sample in by_person[person_id]
    }
    findings.remark(sorted(strangers), "folder of an id in no split", "folders of ids in no split")
