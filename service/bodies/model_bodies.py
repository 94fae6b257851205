"""What the service answers of models and jobs."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from model.artifact import Manifest, ModelArtifact
from service.bodies.schemas import Problem
from service.refresh.jobs import Job, JobKind, JobStatus, Phase
from service.refresh.registry import RegisteredModel
from service.refresh.served import ServedModel

ModelState = Literal["active", "kept", "refreshing", "available"]


class ModelBody(BaseModel):
    """A model that the service has."""

    model_id: str
    active: bool
    state: ModelState = Field(
        description=(
            "`kept`: its vectors of all entries are there to go back to; `refreshing`: they are"
            " being made."
        )
    )
    config: dict[str, Any]
    embedding_dim: int
    provider: str | None = Field(description="What runs it; null while it is not open.")
    precision: str | None
    metrics: Mapping[str, Mapping[str, float]]
    calibration: Mapping[str, Any] | None
    created_at: datetime | None
    source: Mapping[str, str | None] | None = Field(description="Its recipe and commit.")
    published_at: datetime | None
    published_by: str | None = Field(description="Null for one that was put there by hand.")


class ModelsBody(BaseModel):
    """The models that the service has; `kept` and `refreshing` are ids, null for none."""

    active: str
    kept: str | None
    refreshing: str | None
    models: list[ModelBody]


class ReclaimBody(BaseModel):
    """What was given up: the vectors of a model; the model itself stays."""

    model_id: str
    bytes_freed: int


class JobBody(BaseModel):
    """Long work of the service. `total` and `done` count entries."""

    job_id: str
    kind: JobKind
    status: JobStatus
    phase: Phase | None
    model_id: str
    from_model_id: str
    total: int
    done: int
    left_out: int
    erased: int
    crops_per_s: float | None
    seconds_left: float | None = Field(description="Null while nothing is known.")
    waiting_for: str | None = Field(description="What keeps it from going on; it tries again.")
    started_at: datetime
    finished_at: datetime | None
    asked_by: str
    override: list[str]
    entries_without_crop: Literal["erase", "leave_out"] | None
    problem: Problem | None = Field(description="Why it failed.")
    evaluation: dict[str, Any] | None = Field(
        description="Figures of the candidate and the active model, in percent."
    )


class JobsBody(BaseModel):
    """Jobs, newest first."""

    jobs: list[JobBody]


def job_body(job: Job) -> JobBody:
    """Return a job as clients see it."""
    return JobBody.model_validate(asdict(job))


def model_body(
    model_id: str,
    state: ModelState,
    *,
    served: ServedModel | None,
    registered: RegisteredModel | None,
) -> ModelBody:
    """Return a model as clients see it: as it is open, as the registry has it, or both."""
    artifact = None if registered is None else registered.artifact
    return ModelBody(
        model_id=model_id,
        active=state == "active",
        state=state,
        **_of_network(served, artifact),
        published_at=None if registered is None else registered.published_at,
        published_by=None if registered is None else registered.published_by,
    )


def _of_network(served: ServedModel | None, artifact: ModelArtifact | None) -> dict[str, Any]:
    """Return what is said of a network; answers go by what is open, where it is."""
    manifest = None if artifact is None else artifact.manifest
    known = served or manifest
    assert known is not None
    config = known.encoder.config if isinstance(known, ServedModel) else known.config
    return {
        "config": config.model_dump(mode="json"),
        "embedding_dim": config.embedding_dim,
        "provider": None if served is None else served.encoder.provider,
        "precision": None if served is None else served.encoder.precision,
        "metrics": known.metrics,
        "calibration": _calibration(known),
        "created_at": None if manifest is None else manifest.created_at,
        "source": None if manifest is None else manifest.source.model_dump(),
    }


def _calibration(known: ServedModel | Manifest) -> Mapping[str, Any] | None:
    """Return what is answered by, where a model is open: nothing, if that cannot be read."""
    if isinstance(known, Manifest):
        return known.calibration
    return None if known.calibration is None else known.calibration.to_manifest()
