"""The small text files that say which images and ids belong to a split."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from training.datasets.names import below, whole_number
from training.datasets.problems import Findings
from training.errors import DatasetError


def read_index(path: Path) -> str:
    """Return an index file's text. Raises: DatasetError if it is missing or cannot be read."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DatasetError(f"{path}: missing index file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: cannot be read: {error}") from error


def read_ids(path: Path) -> list[int]:
    """Read a file of comma-separated ids: ascending, each once.

    Raises:
        DatasetError: the file is missing, cannot be read or holds something else.
    """
    fields = read_index(path).replace("\n", ",").split(",")
    found = {field.strip() for field in fields} - {""}
    numbers = {field: whole_number(field) for field in found}
    bad = sorted(field for field, number in numbers.items() if number is None)
    if bad:
        raise DatasetError(f"{path}: expected comma-separated ids, found {bad[0][:80]!r}")
    return sorted({number for number in numbers.values() if number is not None})


def read_label_list(path: Path, root: Path, findings: Findings) -> list[tuple[Path, int]]:
    """Read a file of lines `path label` into paths below `root` and labels, in the file's order.

    Lines of another form, images that lie outside `root`, that are missing or listed twice go to
    `findings`, and so does a file that cannot be read.
    """
    try:
        text = read_index(path)
    except DatasetError as error:
        findings.error([error], "unusable index file", "unusable index files")
        return []
    rows, malformed, outside = [], [], []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        name, _, label = line.strip().rpartition(" ")
        value = whole_number(label)
        if not name or value is None:
            malformed.append(f"{path}:{number}: expected 'path label', found {line[:80]!r}")
        elif (image := below(root, name.strip())) is None:
            outside.append(f"{path}:{number}: {name!r}")
        else:
            rows.append((image, value))
    findings.error(malformed, "malformed line", "malformed lines")
    findings.error(outside, "image outside the folder", "images outside the folder")
    report_twice(path, [image for image, _ in rows], findings)
    return rows


def report_twice(index: Path, images: Iterable[Path], findings: Findings) -> None:
    """Report the images that an index file lists more than once."""
    twice = sorted(image for image, times in Counter(images).items() if times > 1)
    where = [f"{image} ({index.name})" for image in twice]
    findings.error(where, "image listed twice", "images listed twice")
