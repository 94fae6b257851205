"""The models that are open, and which of them answers: that of the vectors that are searched."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias, TypeVar

from gallery_index.errors import ModelChangedError
from gallery_index.person_gallery import PersonGallery
from model.artifact import Manifest
from model.calibration import Calibration
from model.encoder import Encoder
from model.errors import CalibrationError
from service.engine.crop_encoder import CropEncoder

T = TypeVar("T")

log = logging.getLogger(__name__)

ATTEMPTS: Final = 3
"""How often a request begins with the model that answers: a switch takes a moment, and is rare."""


def _nothing() -> None:
    """Close an encoder that needs no closing."""


@dataclass(frozen=True, slots=True)
class ServedModel:
    """One open model and what its manifest says beside its network."""

    encoder: CropEncoder
    metrics: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    calibration: Calibration | None = None
    close: Callable[[], None] = _nothing
    """Lets go of the encoder; may be called twice."""

    @classmethod
    def of(cls, encoder: Encoder) -> "ServedModel":
        """Return an open model with what its manifest says, its calibration read once."""
        manifest = encoder.artifact.manifest
        return cls(encoder, manifest.metrics, calibration_of(manifest), encoder.close)

    @property
    def model_id(self) -> str:
        """Content hash of the model."""
        return self.encoder.model_id


OpenModel: TypeAlias = Callable[[str], ServedModel]
"""Opens a model by its id. Raises: ModelNotFoundError, InvalidArtifactError."""


def calibration_of(manifest: Manifest) -> Calibration | None:
    """Return the calibration in a manifest; one that cannot be used is none, and logged."""
    if manifest.calibration is None:
        return None
    try:
        return Calibration.from_manifest(manifest.calibration)
    except CalibrationError as error:
        log.error("model %s is served uncalibrated: %s", manifest.model_id, error)
        return None


class ServedModels:
    """Open models by id. Safe to call from several threads: each call is one dictionary access."""

    def __init__(self, gallery: PersonGallery, *models: ServedModel) -> None:
        """Begin with these; the model of the gallery must be among them."""
        self._gallery = gallery
        self._open = {model.model_id: model for model in models}

    def active(self) -> ServedModel:
        """Return the model of the vectors that are searched now.

        A request asks once, and says in every call of the gallery which model its vectors are of:
        where a refresh changes it in between, ModelChangedError asks it to begin again.
        """
        return self._open[self._gallery.model_id]

    async def with_active(self, work: Callable[[ServedModel], Awaitable[T]]) -> T:
        """Do work with the model that answers, anew if the gallery was switched meanwhile.

        So nothing is answered, or enrolled, with the vectors of two models. Raises:
        ModelChangedError if that happens again and again.
        """
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return await work(self.active())
            except ModelChangedError:
                if attempt == ATTEMPTS:
                    raise
        raise AssertionError

    def find(self, model_id: str) -> ServedModel | None:
        """Return an open model."""
        return self._open.get(model_id)

    def add(self, model: ServedModel) -> None:
        """Take in a model that was opened; before the gallery can be switched to it."""
        self._open[model.model_id] = model

    def remove(self, model_id: str) -> ServedModel | None:
        """Give back a model that nothing asks for any more, to be closed."""
        return self._open.pop(model_id, None)

    def recalibrate(self, model_id: str, calibration: Calibration | None) -> None:
        """Answer with another calibration from now on."""
        self._open[model_id] = replace(self._open[model_id], calibration=calibration)

    def close(self) -> None:
        """Let go of all encoders."""
        for model in self._open.values():
            model.close()
