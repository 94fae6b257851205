"""The OpenAPI document of the service, and its snapshot.

`python -m tests.service.openapi_document` renews the snapshot.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

from gallery_index.gallery import Gallery
from service.app import create_app
from tests.service.conftest import small_settings
from tests.service.fakes import CONFIG, MODEL_ID, TinyEncoder

SNAPSHOT = Path(__file__).with_name("openapi.json")
VERSION = "(the version of the package)"


def served_document() -> dict[str, Any]:
    """Return the document of a service, but for its version."""
    with tempfile.TemporaryDirectory() as directory:
        settings = small_settings(Path(directory))
        gallery = Gallery.open(settings.data, model_id=MODEL_ID, embedding_dim=CONFIG.embedding_dim)
        try:
            served = create_app(settings, TinyEncoder(), gallery).openapi()
        finally:
            gallery.close()
    document: dict[str, Any] = json.loads(json.dumps(served))  # as a client has it, and its own
    document["info"]["version"] = VERSION
    return document


def written(document: dict[str, Any]) -> str:
    """Return a document as the snapshot has it."""
    return json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    SNAPSHOT.write_text(written(served_document()), encoding="utf-8")
