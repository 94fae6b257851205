"""The files of the operator's page, as they are answered. What serves them is `routes.web`."""

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parent / "web"
MEDIA_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class WebFile:
    """A file of the page as it is answered."""

    content: bytes
    media_type: str
    tag: str


def read_web_files(folder: Path = FOLDER) -> dict[str, WebFile]:
    """Read the page's files, by path from `folder` on; what is not one of its types is none.

    Raises: OSError.
    """
    files = {}
    for path in sorted(folder.rglob("*")):
        if (media_type := MEDIA_TYPES.get(path.suffix)) is not None:
            content = path.read_bytes()
            tag = f'"{sha256(content).hexdigest()[:32]}"'
            files[path.relative_to(folder).as_posix()] = WebFile(content, media_type, tag)
    return files
