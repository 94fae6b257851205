"""Records to put into metadata stores, and a way to reach the same store again and again."""

from collections.abc import Callable
from datetime import UTC, datetime

from gallery_index.records import GalleryEntry, GalleryIdentity
from gallery_index.stores.record_codec import StoreHead
from gallery_index.stores.store import MetadataStore, Transaction

IDENTITY = GalleryIdentity("0" * 32, "model-a", 16, "sqlite")
Connect = Callable[[], MetadataStore]


def entry(row: int, person_id: str | None = "p") -> GalleryEntry:
    now = datetime(2026, 5, 1, 12, 0, 0, 1, tzinfo=UTC)
    return GalleryEntry(
        entry_id=f"e{row}",
        person_id=person_id,
        camera_id=None,
        modality="visible",
        captured_at=now,
        attributes={"a": [1, 2.5, "ü", None]},
        model_id="model-a",
        crop_sha256="0" * 64,
        media_type="image/png",
        enrolled_at=now,
        row=row,
    )


def created(connect: Connect) -> MetadataStore:
    """Return a new store, ready to commit."""
    store = connect()
    assert store.identity() is None
    store.create(IDENTITY)
    store.head()
    return store


def opened(connect: Connect) -> MetadataStore:
    """Return the store as another process would find it, ready to commit."""
    store = connect()
    store.head()
    return store


def put(store: MetadataStore, *rows: int) -> StoreHead:
    """Commit new records in these rows, the next ones; returns the head after."""
    head = store.last_head
    new = [entry(row) for row in rows]
    store.commit(Transaction(rows[-1] + 1, head.entries + len(rows), put=new))
    return store.last_head


def rename(store: MetadataStore, row: int, person_id: str) -> StoreHead:
    """Commit a changed record; returns the head after."""
    head = store.last_head
    store.commit(Transaction(head.next_row, head.entries, put=[entry(row, person_id)]))
    return store.last_head


def delete(store: MetadataStore, *rows: int) -> StoreHead:
    """Commit a deletion; returns the head after."""
    head = store.last_head
    gone = [entry(row) for row in rows]
    store.commit(Transaction(head.next_row, head.entries - len(rows), delete=gone))
    return store.last_head
