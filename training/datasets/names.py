"""Names as the files of a dataset have them: numbers, paths below its folder, what is there.

Nothing here raises: a name can be anything, and a folder can forbid to look.
"""

import os
from pathlib import Path

MAX_DIGITS = 9
"""Of an id or a label: what a published dataset never needs, and int64 always holds."""


def whole_number(text: str) -> int | None:
    """A number of one to nine digits 0-9; None for anything else."""
    if text.isascii() and text.isdecimal() and len(text) <= MAX_DIGITS:
        return int(text)
    return None


def below(root: Path, name: str) -> Path | None:
    """The path of a file named relative to `root`; None where the name leads out of it.

    Every sample lies below its dataset's folder, so that a dataset can be moved and a run can tell
    whether its files are the same. A symbolic link may bring in another folder.
    """
    folder = os.path.join(os.path.abspath(root), "")  # noqa: PTH100, PTH118 (links stay links)
    path = os.path.normpath(os.path.join(folder, name))  # noqa: PTH118
    return root / path.removeprefix(folder) if path.startswith(folder) else None


def is_folder(path: Path) -> bool:
    """Whether a folder is there; no, where that cannot be told."""
    return os.path.isdir(path)  # noqa: PTH112 (Path.is_dir raises where a folder is locked)


def is_file(path: Path) -> bool:
    """Whether a file is there; no, where that cannot be told."""
    return os.path.isfile(path)  # noqa: PTH113 (Path.is_file raises on a name that is too long)
