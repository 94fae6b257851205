"""The LLCM layout: lists for training, camera folders for testing.

`idx/train_vis.txt` and `idx/train_nir.txt` hold lines `path label`, the camera being `_c{nn}_` in
the file's name (`vis/0001/0001_c01_s185535_f7010_vis.jpg`). `idx/test_id.txt` holds comma-separated
ids whose images lie in `test_vis/cam{1..9}/{id:04d}/` and `test_nir/cam{1,2,4..9}/{id:04d}/`. A
camera's number is the same in both modalities: the two lenses stand at one place.

Owns the layout only; the evaluation protocol is `training.protocols.llcm`.
Source: ZYK100/LLCM, AGW/data_manager.py and AGW/data_loader.py.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from model.config import Modality
from training.datasets.folders import persons_below
from training.datasets.index_files import read_ids, read_label_list
from training.datasets.names import is_folder, whole_number
from training.datasets.problems import Findings
from training.datasets.sample import Dataset, Sample, hold_out, present, require_folder, sound
from training.errors import DatasetError

HOLD_OUT_EVERY = 10
LISTS = (("train_vis.txt", Modality.VISIBLE), ("train_nir.txt", Modality.INFRARED))
CAMERAS = {
    ("test_vis", Modality.VISIBLE): (1, 2, 3, 4, 5, 6, 7, 8, 9),
    ("test_nir", Modality.INFRARED): (1, 2, 4, 5, 6, 7, 8, 9),
}
CAMERA_IN_NAME = re.compile(r"_c(\d{1,3})_")
UNKNOWN = 0
"""The camera of a training image whose name has none; training asks for no camera."""


def read_llcm(root: Path) -> Dataset:
    """Read a dataset in the LLCM layout.

    Raises:
        DatasetError: one report of everything that `survey_llcm` finds wrong.
    """
    return sound(survey_llcm(root))


def survey_llcm(root: Path) -> Dataset:
    """Read what can be read of a dataset in the LLCM layout.

    LLCM publishes no validation identities: every tenth training identity is held out. A training
    `person_id` is the list's label, a test `person_id` the folder's number: they tell persons apart
    within train and within test only.

    Its errors: index files that are missing or hold something else, images that are missing or
    listed twice, missing test folders, test ids without any image. Its remarks: missing camera
    folders (the authors' code skips them), test folders of other ids, and training images without a
    camera in their name or in folders that bear the number of a test id.

    Raises:
        DatasetError: there is no such folder.
    """
    require_folder(root)
    findings = Findings()
    trained = _read_lists(root, findings)
    tested = _read_test(root, _read_test_ids(root / "idx" / "test_id.txt", findings), findings)
    test_ids = {sample.person_id for sample in tested}
    leaking = {s.path.parent for s in trained if whole_number(s.path.parent.name) in test_ids}
    findings.remark(sorted(leaking), "training folder of a test id", "training folders of test ids")
    kept, held = hold_out(trained, HOLD_OUT_EVERY)
    errors, remarks = tuple(findings.errors), tuple(findings.remarks)
    return Dataset("llcm", root, kept, held, tested, errors, remarks)


def _read_lists(root: Path, findings: Findings) -> tuple[Sample, ...]:
    samples: list[Sample] = []
    for name, modality in LISTS:
        for path, label in read_label_list(root / "idx" / name, root, findings):
            camera = CAMERA_IN_NAME.search(path.name)
            samples.append(Sample(path, label, int(camera[1]) if camera else UNKNOWN, modality))
    findings.remark(
        [sample.path for sample in samples if sample.camera_id == UNKNOWN],
        "training image without its camera in its name (as in ..._c01_...)",
        "training images without their camera in their name (as in ..._c01_...)",
    )
    samples = present(samples, "images that the training lists name", findings)
    return tuple(sorted(samples, key=lambda sample: (sample.modality.value, sample.path)))


def _read_test_ids(path: Path, findings: Findings) -> Sequence[int]:
    try:
        return read_ids(path)
    except DatasetError as error:
        findings.error([error], "unusable index file", "unusable index files")
        return ()


def _read_test(root: Path, ids: Sequence[int], findings: Findings) -> tuple[Sample, ...]:
    """The images of the test ids, visible before infrared, by camera, person and name."""
    samples: list[Sample] = []
    strangers: list[Path] = []
    for (folder, modality), cameras in CAMERAS.items():
        if ids and not is_folder(root / folder):
            findings.error([root / folder], "missing test folder", "missing test folders")
            continue
        for camera in _present(root / folder, cameras, findings):
            for person_id, images in persons_below(root / folder / f"cam{camera}", findings):
                if person_id in set(ids):
                    samples += [Sample(image, person_id, camera, modality) for image in images]
                elif images:
                    strangers.append(images[0].parent.relative_to(root))
    seen = {sample.person_id for sample in samples}
    bare = [person_id for person_id in ids if person_id not in seen]
    findings.error(bare, "test id without any image", "test ids without any image")
    findings.remark(strangers, "test folder of another id", "test folders of other ids")
    return tuple(samples)


def _present(folder: Path, cameras: Sequence[int], findings: Findings) -> list[int]:
    if not is_folder(folder):
        return []
    missing = [camera for camera in cameras if not is_folder(folder / f"cam{camera}")]
    of_all = f"of {len(cameras)} camera folders of {folder.name}"
    where = [f"cam{camera}" for camera in missing]
    findings.remark(where, f"{of_all} is missing", f"{of_all} are missing")
    return [camera for camera in cameras if camera not in missing]
