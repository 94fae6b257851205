"""Camera folders with a folder for each identity, as SYSU-MM01 and LLCM keep them."""

from pathlib import Path

from training.datasets.names import is_folder, whole_number
from training.datasets.problems import Findings

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp"})


def persons_below(camera: Path, findings: Findings) -> list[tuple[int, list[Path]]]:
    """The identities below a camera's folder and the images of each, both by name.

    Folders that are no number and files that are no image belong to nobody. A folder that cannot
    be listed goes to `findings`.
    """
    found = []
    for folder in listed(camera, findings):
        person_id = whole_number(folder.name)
        if person_id is None or not is_folder(folder):
            continue
        images = listed(folder, findings)
        found.append((person_id, [p for p in images if p.suffix.lower() in IMAGE_SUFFIXES]))
    return found


def listed(folder: Path, findings: Findings) -> list[Path]:
    """What lies in a folder, by name; a folder that cannot be listed goes to `findings`."""
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        where = f"{folder} ({error.strerror})"
        findings.error([where], "folder that cannot be listed", "folders that cannot be listed")
        return []
