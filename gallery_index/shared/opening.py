"""Whether the parts of a shared gallery belong together, and making them where there are none."""

import uuid

from gallery_index import validation
from gallery_index.errors import GalleryMismatchError
from gallery_index.opening import check_wanted
from gallery_index.records import GalleryIdentity
from gallery_index.shared.qdrant_index import QdrantIndex
from gallery_index.shared.records import SharedRecords


def settle_identity(records: SharedRecords, model_id: str, embedding_dim: int) -> GalleryIdentity:
    """Return what the gallery of a database is, new if it has none.

    Raises: GalleryMismatchError if it is not what is asked for.
    """
    wanted = GalleryIdentity(
        uuid.uuid4().hex, validation.check_model_id(model_id), embedding_dim, "shared"
    )
    found = records.settle_identity(wanted)
    check_wanted(records.location, found, wanted, kind="database")
    return found


def settle_index(records: SharedRecords, index: QdrantIndex) -> None:
    """Make the collection of a gallery that has no entries yet.

    Raises: GalleryMismatchError if there are entries, but no collection.
    """
    entries = records.counts().entries
    if not index.exists() and entries:
        raise GalleryMismatchError(
            f"{index.location} is missing, {records.location} has {entries} entries:"
            " restore it from a snapshot, or name the Qdrant that has it"
        )
    index.create()
