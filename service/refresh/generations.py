"""The two models of a gallery that is refreshed: opened, embedding, filled, exchanged, let go.

Owns that a model is open before its generation needs it. Knows no jobs.
"""

import logging
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from gallery_index.records import OtherGeneration
from gallery_index.refreshable import Check, EmbedCrops, RefreshableGallery
from service.engine.crop_encoder import CropEncoder
from service.engine.crop_jobs import EmbeddedCrop, Kind
from service.engine.embedding import CropEmbedder
from service.errors import GenerationKeptError, NoEarlierModelError, RequestError
from service.refresh.filling import Filled, Filler
from service.refresh.served import OpenModel, ServedModel, ServedModels

log = logging.getLogger(__name__)


class Generations:
    """A gallery's vectors by two models, and what embeds for them."""

    def __init__(
        self,
        gallery: RefreshableGallery,
        models: ServedModels,
        embedder: CropEmbedder,
        open_model: OpenModel,
    ) -> None:
        """`open_model` opens a verified model, and may take seconds."""
        self.gallery = gallery
        self.models = models
        self._embedder = embedder
        self._open_model = open_model

    def open(self, model_id: str) -> ServedModel:
        """Return a model, opened if it is not. Raises: ModelNotFoundError, InvalidArtifactError."""
        served = self.models.find(model_id)
        if served is None:
            served = self._open_model(model_id)
            self.models.add(served)
        return served

    def kept(self, what_for: str) -> OtherGeneration:
        """Return the generation that is kept. Raises: NoEarlierModelError."""
        other = self.gallery.other()
        if other is None or not other.kept:
            raise NoEarlierModelError(f"no earlier model is kept {what_for}")
        return other

    def is_kept(self, model_id: str) -> bool:
        """Whether the generation of a model is kept to go back to."""
        other = self.gallery.other()
        return other is not None and other.kept and other.model_id == model_id

    def in_the_way(self, model_id: str, *, reclaim_kept: bool) -> str | None:
        """Return the other model whose generation has to go, if that may be.

        Raises: GenerationKeptError.
        """
        other = self.gallery.other()
        if other is None or other.model_id == model_id:
            return None
        if other.kept and not reclaim_kept:
            raise GenerationKeptError(
                f"the vectors of model {other.model_id} are kept to go back to: reclaim them first,"
                " or say reclaim_kept"
            )
        return other.model_id

    def drop(self, model_id: str) -> int:
        """Drop the other generation and let go of its model; returns the bytes freed."""
        freed = self.gallery.drop_other()
        self.models.remove(model_id)
        return freed

    def fill(
        self, served: ServedModel, check: Check, on_filled: Callable[[int], None] = lambda _: None
    ) -> Filled:
        """Embed every entry that is missing, once. Raises: as `Filler.fill`."""
        filler = Filler(
            self.gallery, self._embedder, served.encoder, on_filled=on_filled, check=check
        )
        return filler.fill()

    def fill_kept(self, served: ServedModel, check: Check) -> None:
        """Fill the kept generation; what has no sound crop is left out of it."""
        filled = self.fill(served, check)
        lost = [*filled.unsound, *(entry.row for entry in self.gallery.lost())]
        if lost:
            log.warning("%d entries are left out of model %s", len(lost), served.model_id)
            self.gallery.give_up(lost, "leave_out")

    def switch(self, served: ServedModel, check: Check) -> str:
        """Search the other generation from now on; returns its model's id."""
        return self.gallery.switch(self.embed_with(served.encoder, "query", check))

    def embed_with(self, encoder: CropEncoder, kind: Kind, check: Check) -> EmbedCrops:
        """Return what embeds crops, None for one that it cannot.

        It raises EncoderFailedError, ShuttingDownError, and what `check` raises.
        """

        def embed(crops: Sequence[bytes]) -> list[NDArray[np.float32] | None]:
            check()
            begun = self._embedder.begin_in_thread(crops, encoder=encoder, kind=kind)
            embedded: list[NDArray[np.float32] | None] = []
            for outcome in begun.result():
                if isinstance(outcome, RequestError):
                    raise outcome
                embedded.append(outcome.embedding if isinstance(outcome, EmbeddedCrop) else None)
            return embedded

        return embed
