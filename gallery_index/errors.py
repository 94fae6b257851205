"""What can go wrong in a gallery, as one tree. Knows nothing of HTTP.

GalleryError
├── EntryNotFoundError        no such entry
├── PersonNotFoundError       no entry of that person
├── EntryConflictError        the entry id is taken by another crop
├── InvalidEntryError         a field or a vector that cannot be stored
├── CropNotKeptError          the entry's crop was not kept
├── CursorError               a cursor that this gallery did not hand out
├── GalleryLockedError        another process has the directory
├── GalleryMismatchError      another model, dimension or store than the directory's
├── ModelChangedError         the vector is of another model than the gallery is searched with now
├── RefreshStateError         no such generation, or another one stands in the way
├── RefreshIncompleteError    entries that the new generation cannot have; lists them
├── GalleryCorruptError       a damaged file; names the file and the row
├── StoreUnavailableError     the metadata store does not answer; try again later
├── StoreConfigurationError   the metadata store would lose data as it is configured
└── StorageFullError          no room on the disk; nothing was changed
"""

from collections.abc import Sequence


class GalleryError(Exception):
    """Anything that a gallery refuses or cannot do."""


class EntryNotFoundError(GalleryError):
    """There is no entry with this id."""

    def __init__(self, entry_id: str) -> None:
        super().__init__(f"no entry {entry_id!r} in the gallery")
        self.entry_id = entry_id


class PersonNotFoundError(GalleryError):
    """There is no entry of this person."""

    def __init__(self, person_id: str) -> None:
        super().__init__(f"no entry of person {person_id!r} in the gallery")
        self.person_id = person_id


class EntryConflictError(GalleryError):
    """The entry id is taken by an entry with another crop or modality."""


class InvalidEntryError(GalleryError, ValueError):
    """A field or a vector cannot be stored; the message names it and what came."""


class CropNotKeptError(GalleryError):
    """The crop of this entry was not kept."""

    def __init__(self, entry_id: str) -> None:
        super().__init__(f"the crop of entry {entry_id!r} was not kept")
        self.entry_id = entry_id


class CursorError(GalleryError, ValueError):
    """A listing cursor that this gallery did not hand out."""


class GalleryLockedError(GalleryError):
    """Another process has this directory open; the message says which."""


class GalleryMismatchError(GalleryError):
    """The directory or the store belongs to another gallery, model or dimension."""


class ModelChangedError(GalleryError):
    """The vector is of another model than the gallery is searched with now: embed it again.

    Nothing was changed. `model_id` is the gallery's now.
    """

    def __init__(self, came: str, model_id: str) -> None:
        super().__init__(f"the gallery is of model {model_id} now, the vector of {came}")
        self.model_id = model_id


class RefreshStateError(GalleryError):
    """There is no such generation, or another one stands in the way; nothing was changed."""


class RefreshIncompleteError(GalleryError):
    """Entries cannot be embedded anew, for want of a sound crop, and nobody said what to do."""

    def __init__(self, entry_ids: Sequence[str]) -> None:
        named = ", ".join(repr(entry_id) for entry_id in entry_ids[:5])
        super().__init__(f"{len(entry_ids)} entries have no crop to embed anew: {named} ...")
        self.entry_ids = list(entry_ids)


class GalleryCorruptError(GalleryError):
    """A file of the gallery is damaged; the message names the file and the row."""


class StoreUnavailableError(GalleryError):
    """The metadata store does not answer: writes wait until it is back, searches go on."""


class StoreConfigurationError(GalleryError):
    """The metadata store is set up in a way that could lose acknowledged entries."""


class StorageFullError(GalleryError):
    """The disk is full; nothing was changed."""
