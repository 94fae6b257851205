"""The small text files that say which images and ids belong to a split."""

from pathlib import Path

from training.errors import DatasetError


def read_index(path: Path) -> str:
    """Return an index file's text. Raises: DatasetError if it is missing or cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise DatasetError(f"{path}: missing index file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: cannot be read: {error}") from error
