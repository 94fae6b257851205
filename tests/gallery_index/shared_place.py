"""Where a test keeps a shared gallery: a real Redis, Qdrant's local mode, crops in memory."""

import functools
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import RLock
from typing import Any

from qdrant_client import QdrantClient

from gallery_index.shared.crops import SharedCrops
from gallery_index.shared.gallery import SharedGallery
from gallery_index.shared.opening import settle_identity, settle_index
from gallery_index.shared.qdrant_index import QdrantIndex
from gallery_index.shared.records import SharedRecords
from tests.gallery_index.places import DIM, MODEL


class OneAtATime:
    """Qdrant's local mode for several threads, and away when it is told to be.

    `before` maps the name of a call to what happens just before it.
    """

    def __init__(self) -> None:
        self._client = QdrantClient(":memory:")
        self._lock = RLock()
        self.away = False
        self.before: dict[str, Callable[[], object]] = {}

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)

        @functools.wraps(method)
        def call(*args: Any, **kwargs: Any) -> Any:
            happens = self.before.pop(name, None)
            if happens is not None:
                happens()
            kwargs.pop("search_params", None)  # local mode compares everything, and says so
            if self.away:
                raise ConnectionRefusedError("away")
            if name == "create_payload_index":  # local mode has none, and says so
                return None
            with self._lock:
                return method(*args, **kwargs)

        return call

    def close(self) -> None:
        """Stay: other replicas use it."""


@dataclass
class SharedPlace:
    """One shared gallery; `open` starts one more replica of it."""

    redis_url: str
    crop_store: str = field(default_factory=lambda: f"memory://{uuid.uuid4().hex}")
    qdrant: OneAtATime = field(default_factory=OneAtATime)
    opened: list[SharedGallery] = field(default_factory=list)

    def open(
        self, *, model_id: str = MODEL, dim: int = DIM, retention_days: int | None = None
    ) -> SharedGallery:
        """Open the gallery, with no thread of its own."""
        records = SharedRecords(self.redis_url)
        try:
            identity = settle_identity(records, model_id, dim)
            index = QdrantIndex(self.qdrant, identity, "Qdrant in memory")  # type: ignore[arg-type]
            settle_index(records, index)
        except BaseException:
            records.close()
            raise
        crops = SharedCrops(self.crop_store, identity.gallery_id)
        gallery = SharedGallery(identity, records, index, crops, retention_days=retention_days)
        self.opened.append(gallery)
        return gallery

    def crash(self) -> None:
        """Let go of the newest replica as the kernel would."""
        self.opened.pop()._records.close()

    def close(self) -> None:
        """Close whatever is open."""
        self.qdrant.away = False
        for gallery in self.opened:
            gallery.close()
