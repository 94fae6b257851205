"""From settings to what a service works with: models, gallery, audit log.

Owns which model answers from the start on, and that whatever cannot be opened is one line for the
operator.
"""

import logging
from contextlib import suppress
from typing import Final

from gallery_index.errors import GalleryError, GalleryMismatchError
from gallery_index.gallery import Gallery
from gallery_index.opening import read_identity
from gallery_index.person_gallery import PersonGallery
from gallery_index.upkeep import UpkeepPolicy
from model.artifact import ModelArtifact
from model.encoder import Encoder
from model.errors import ModelError
from service.audit.log import AuditLog
from service.engine.crop_encoder import CropEncoder
from service.errors import (
    AuditUnavailableError,
    InvalidArtifactError,
    ModelNotFoundError,
    RequestError,
)
from service.refresh.registry import ModelRegistry, RegisteredModel
from service.refresh.served import OpenModel, ServedModel
from service.refresh.verification import Trials
from service.settings import ServiceSettings

AT_START: Final = "--model"
"""Who published a model that a service was started with."""

log = logging.getLogger(__name__)


class StartError(Exception):
    """The service cannot start; the message is one line for the operator."""


def read_named(settings: ServiceSettings) -> ModelArtifact:
    """Read the model that `--model` names, before anything is made. Raises: StartError."""
    try:
        return ModelArtifact.load(settings.model)
    except ModelError as error:
        raise StartError(str(error)) from error


def open_registry(settings: ServiceSettings) -> ModelRegistry:
    """Open the models of a service. Raises: StartError."""
    trials = Trials(
        provider=settings.provider,
        timeout_s=settings.publish_timeout_s,
        max_crop_s=settings.query_deadline_s,
    )
    try:
        return ModelRegistry(settings.models_directory, trials)
    except GalleryError as error:
        raise StartError(str(error)) from error


def model_opener(settings: ServiceSettings, registry: ModelRegistry) -> OpenModel:
    """Return what opens a model of the registry by its id, tried first; it takes seconds.

    It raises ModelNotFoundError, InvalidArtifactError and ShuttingDownError.
    """
    return lambda model_id: _opened(registry.checked(model_id), settings)


def _opened(model: RegisteredModel, settings: ServiceSettings) -> ServedModel:
    """Open a model. Raises: InvalidArtifactError."""
    try:
        encoder = Encoder.open(model.artifact, provider=settings.provider, threads=settings.threads)
    except ModelError as error:
        raise InvalidArtifactError(str(error)) from error
    return ServedModel.of(encoder)


def open_served(
    settings: ServiceSettings, registry: ModelRegistry, named: ModelArtifact
) -> ServedModel:
    """Take the model that is named into the registry and open the one that answers.

    That is the gallery's, where a refresh has changed it. Raises: StartError.
    """
    try:
        known = _taken_in(named, registry)
        return _opened(_answering(settings, registry, known), settings)
    except (RequestError, GalleryError) as error:
        raise StartError(str(error)) from error


def open_other(
    settings: ServiceSettings, gallery: PersonGallery, open_model: OpenModel
) -> ServedModel | None:
    """Open the model of the generation beside, where enrolments need it from the first one on.

    That is where crops are not kept; else the refresher opens it in its own time.
    """
    other = gallery.other() if isinstance(gallery, Gallery) else None
    if settings.store_crops or other is None:
        return None
    try:
        return open_model(other.model_id)
    except RequestError as error:
        log.error("the model of the other generation cannot be opened: %s", error)
        return None


def _taken_in(named: ModelArtifact, registry: ModelRegistry) -> RegisteredModel:
    """Return a model as the registry has it now.

    It takes over a calibration where it has none: one of its own may be of the gallery.
    """
    given = named.manifest.calibration
    known = registry.take_in(named.directory, by=AT_START)
    if known.artifact.manifest.calibration is None and given is not None:
        return registry.recalibrate(named.model_id, given)
    return known


def _answering(
    settings: ServiceSettings, registry: ModelRegistry, named: RegisteredModel
) -> RegisteredModel:
    """Return which model the gallery needs. Raises: StartError."""
    searched = _searched_with(settings)
    if searched is None or searched == named.model_id:
        return named
    with suppress(ModelNotFoundError):
        found = registry.get(searched)
        log.info("model %s answers, the gallery's; --model is %s", searched, named.model_id)
        return found
    raise StartError(
        f"the gallery in {settings.data} is of model {searched}, --model is {named.model_id}:"
        f" expected the gallery's there or in {settings.models_directory}, or another --data"
    )


def _searched_with(settings: ServiceSettings) -> str | None:
    """Return the model of the vectors that are searched; None where the gallery is yet to be."""
    if settings.qdrant_url is not None:  # its model is no directory's, and never changes
        return None
    try:
        return read_identity(settings.data).model_id
    except (GalleryMismatchError, OSError):  # new; or its opening says what is wrong
        return None
    except GalleryError as error:
        raise StartError(str(error)) from error


def open_gallery(settings: ServiceSettings, encoder: CropEncoder) -> PersonGallery:
    """Open the gallery with the model that answers. Raises: StartError."""
    redis_url = settings.redis_url.get_secret_value() if settings.redis_url else None
    try:
        if settings.qdrant_url is not None:
            return _open_shared(settings, encoder)
        return Gallery.open(
            settings.data,
            model_id=encoder.model_id,
            embedding_dim=encoder.config.embedding_dim,
            redis_url=redis_url,
            policy=UpkeepPolicy(
                recall_target=settings.recall_target, retention_days=settings.retention_days
            ),
            upkeep=True,
        )
    except GalleryError as error:
        raise StartError(str(error)) from error
    except OSError as error:
        raise StartError(f"cannot use the data directory {settings.data}: {error}") from error


def _open_shared(settings: ServiceSettings, encoder: CropEncoder) -> PersonGallery:
    try:
        from gallery_index.shared.gallery import SharedGallery
    except ImportError as error:
        raise StartError(
            f"MPANET_QDRANT_URL needs the extra `scale` ({error}): pip install 'mpanet[scale]'"
        ) from error
    assert settings.qdrant_url is not None
    assert settings.redis_url is not None
    assert settings.crop_store is not None
    return SharedGallery.open(
        redis_url=settings.redis_url.get_secret_value(),
        qdrant_url=settings.qdrant_url.get_secret_value(),
        crop_store=settings.crop_store.get_secret_value(),
        model_id=encoder.model_id,
        embedding_dim=encoder.config.embedding_dim,
        retention_days=settings.retention_days,
    )


def open_audit(settings: ServiceSettings) -> AuditLog:
    """Open the audit log. Raises: StartError."""
    try:
        return AuditLog.open(settings.data / "audit", keep_days=settings.audit_days)
    except (AuditUnavailableError, GalleryError) as error:
        raise StartError(str(error)) from error
