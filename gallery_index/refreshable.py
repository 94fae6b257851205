"""What a gallery offers to those who refresh it: its vectors by one model, made anew by another.

A generation is one model's vectors of all entries. One is searched; beside it may be one other,
that a refresh fills or that is kept to go back to. Entries, crops and erasures are common to both:
what is deleted is deleted in both, at once.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gallery_index.person_gallery import PersonGallery
from gallery_index.records import GalleryEntry, OtherGeneration

EmbedCrops: TypeAlias = Callable[[Sequence[bytes]], Sequence[NDArray[np.float32] | None]]
"""From crops to their embeddings (D,) by the other generation's model; None for one it cannot."""

Check: TypeAlias = Callable[[], None]
"""Raises what is to end the work under way."""

WithoutCrop: TypeAlias = Literal["erase", "leave_out"]
"""What becomes of entries that cannot be embedded anew: erased, or listed but no longer found."""


def nothing() -> None:
    """Let work go on."""


class RefreshableGallery(PersonGallery, Protocol):
    """`Gallery`; a `SharedGallery` is none. Each call is durable when it returns."""

    def other(self) -> OtherGeneration | None:
        """Return what there is beside the generation that is searched. Quick."""

    def without_crop(self) -> list[GalleryEntry]:
        """Return the live entries whose crop was not kept, in the order of enrolment."""

    def begin_refresh(self, model_id: str, embedding_dim: int) -> OtherGeneration:
        """Make the other generation, of this model; go on with the one that is being made.

        Raises: RefreshStateError if another one is there, or it is the one searched.
        """

    def missing(self, limit: int) -> list[GalleryEntry]:
        """Return the first live entries without a vector in the other generation, by row.

        Those without a crop, and those left out, are not among them. Raises: RefreshStateError.
        """

    def lost(self) -> list[GalleryEntry]:
        """Return the entries that `missing` passed over: without a vector there, and a crop.

        Raises: RefreshStateError.
        """

    def fill(
        self, vectors: Mapping[int, NDArray[np.float32]], *, model_id: str | None = None
    ) -> int:
        """Give the other generation vectors (D,) by row; returns how many rows were still alive.

        `model_id` says which model they are of, None that this is sure.

        Raises: RefreshStateError, InvalidEntryError, StorageFullError.
        """

    def give_up(self, rows: Sequence[int], how: WithoutCrop) -> int:
        """Erase entries, or leave them out of the other generation; returns how many there were."""

    def prepare_switch(self, check: Check = nothing) -> None:
        """Build the other generation's index, so that `switch` takes no time. Slow.

        `check` is called now and then, and ends it by raising.
        Raises: RefreshStateError, GalleryCorruptError.
        """

    def switch(self, embed: EmbedCrops) -> str:
        """Search the other generation from now on and keep the one before; returns its model id.

        Entries that came in the last moment are embedded while writes wait: call it when few are
        `missing`. One rename decides it: killed before, nothing has changed.
        Raises: RefreshIncompleteError naming entries that have no vector and no sound crop; nothing
        changes then.
        """

    def drop_other(self) -> int:
        """Remove the other generation, vectors and index; returns the bytes freed.

        Raises: RefreshStateError if there is none.
        """
