"""The model directory: `model.onnx` and `manifest.json`, the only bridge from training to serving.

Owns the manifest's fields, the content hash that names a model, and reading and writing the
directory. Reading trusts nothing: the files must be those that the manifest was written for.
"""

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import uuid4

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FiniteFloat,
    PlainSerializer,
    ValidationError,
)

from model.config import MPANetConfig, first_complaint
from model.durable_files import sync_directory, write_durably
from model.errors import ArtifactError, ExportError
from model.preprocessing import PreprocessingConfig

ONNX_NAME = "model.onnx"
MANIFEST_NAME = "manifest.json"


def _config_of_manifest(value: Any) -> Any:
    """Check the derived `embedding_dim` against the fields that it derives from."""
    if not isinstance(value, dict):
        return value
    config = MPANetConfig.model_validate({k: v for k, v in value.items() if k != "embedding_dim"})
    if value.get("embedding_dim") != config.embedding_dim:
        projected = "" if config.projected_dim is None else " and a projection"
        raise ValueError(
            f"expected embedding_dim {config.embedding_dim} of {config.backbone} with"
            f" {config.num_patterns} patterns{projected}, got {value.get('embedding_dim')!r}"
        )
    return config


def _config_to_manifest(config: MPANetConfig) -> dict[str, Any]:
    """Defaults are left out, so that a new option leaves the ids of existing models as they are."""
    return config.model_dump(mode="json", exclude_defaults=True) | {
        "embedding_dim": config.embedding_dim
    }


class ModelSource(BaseModel):
    """Where the weights come from; null where nobody knows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    recipe: str | None = None
    commit: str | None = None


@dataclass(frozen=True)
class ModelFigures:
    """What a model reached: figures in percent by protocol, and the id that they belong to."""

    model_id: str
    figures: Mapping[str, Mapping[str, float]]


class Manifest(BaseModel):
    """What `manifest.json` says. `metrics`: protocol -> figures; `calibration`: null until made."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    model_id: str = Field(pattern=r"^[0-9a-f]{64}$")
    config: Annotated[
        MPANetConfig,
        BeforeValidator(_config_of_manifest),
        PlainSerializer(_config_to_manifest),
    ]
    preprocessing: PreprocessingConfig
    onnx_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    metrics: dict[str, dict[str, FiniteFloat]] = {}
    calibration: dict[str, Any] | None = None
    created_at: AwareDatetime
    source: ModelSource = ModelSource()


@dataclass(frozen=True)
class ModelArtifact:
    """A model directory whose files were found to match its manifest."""

    directory: Path
    manifest: Manifest

    @property
    def model_id(self) -> str:
        """Names the model by its content: equal ids embed alike."""
        return self.manifest.model_id

    @property
    def config(self) -> MPANetConfig:
        """Shape of the network."""
        return self.manifest.config

    @property
    def preprocessing(self) -> PreprocessingConfig:
        """How images become its input."""
        return self.manifest.preprocessing

    @property
    def onnx_path(self) -> Path:
        """The graph."""
        return self.directory / ONNX_NAME

    @classmethod
    def load(cls, directory: Path) -> "ModelArtifact":
        """Read a model directory and check its files against its manifest.

        Raises:
            ArtifactError: a file is missing or unreadable, the manifest has an unknown key or a
                value out of range, or does not match the graph; the message names the file.
        """
        directory = Path(directory)
        manifest = _read_manifest(directory / MANIFEST_NAME)
        onnx_path = directory / ONNX_NAME
        found = _sha256_of_file(onnx_path)
        if found != manifest.onnx_sha256:
            raise ArtifactError(
                f"{onnx_path} does not match its manifest:"
                f" expected sha256 {manifest.onnx_sha256}, got {found}"
            )
        expected = model_id_of(manifest.onnx_sha256, manifest.config, manifest.preprocessing)
        if manifest.model_id != expected:
            raise ArtifactError(
                f"{directory / MANIFEST_NAME} was changed: its graph, config and preprocessing"
                f" make model_id {expected}, it says {manifest.model_id}"
            )
        return cls(directory, manifest)


def model_id_of(onnx_sha256: str, config: MPANetConfig, preprocessing: PreprocessingConfig) -> str:
    """The content hash: sha256 (hex) over the graph's hash, the config and the preprocessing."""
    content = {
        "config": _config_to_manifest(config),
        "onnx_sha256": onnx_sha256,
        "preprocessing": preprocessing.model_dump(mode="json"),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def write_artifact(
    directory: Path,
    onnx: bytes,
    *,
    config: MPANetConfig,
    preprocessing: PreprocessingConfig,
    metrics: ModelFigures | None = None,
    source: ModelSource | None = None,
) -> ModelArtifact:
    """Write a new model directory: all of it appears at `directory`, or none.

    Raises:
        ExportError: the figures are another model's, `directory` exists already, or it cannot be
            written.
    """
    onnx_sha256 = hashlib.sha256(onnx).hexdigest()
    model_id = model_id_of(onnx_sha256, config, preprocessing)
    manifest = Manifest(
        model_id=model_id,
        config=config,
        preprocessing=preprocessing,
        onnx_sha256=onnx_sha256,
        metrics={} if metrics is None else _figures_of(model_id, metrics),
        created_at=datetime.now(UTC).replace(microsecond=0),
        source=source or ModelSource(),
    )
    refuse_existing(directory)
    temporary = directory.with_name(f".{directory.name}.{uuid4().hex}")
    try:
        temporary.mkdir(parents=True)
        write_durably(temporary / ONNX_NAME, lambda file: file.write(onnx))
        _write_manifest(temporary / MANIFEST_NAME, manifest)
        temporary.rename(directory)
        sync_directory(directory.parent)
    except OSError as error:
        raise ExportError(f"cannot write the model directory {directory}: {error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return ModelArtifact(directory, manifest)


def with_metrics(directory: Path, metrics: ModelFigures) -> ModelArtifact:
    """Put a model's figures into its manifest, in one step; its id stays.

    Raises:
        ArtifactError: the directory does not match its manifest.
        ExportError: the figures are another model's.
        OSError: the manifest cannot be written; it is as it was.
    """
    artifact = ModelArtifact.load(directory)
    figures = _figures_of(artifact.model_id, metrics)
    return _replaced(artifact, artifact.manifest.model_copy(update={"metrics": figures}))


def with_calibration(directory: Path, calibration: Mapping[str, Any] | None) -> ModelArtifact:
    """Put another calibration into a model's manifest, in one step; its id stays.

    Raises:
        ArtifactError: the directory does not match its manifest.
        OSError: the manifest cannot be written; it is as it was.
    """
    artifact = ModelArtifact.load(directory)
    made = None if calibration is None else dict(calibration)
    return _replaced(artifact, artifact.manifest.model_copy(update={"calibration": made}))


def _replaced(artifact: ModelArtifact, manifest: Manifest) -> ModelArtifact:
    _write_manifest(artifact.directory / MANIFEST_NAME, manifest)
    return ModelArtifact(artifact.directory, manifest)


def _write_manifest(path: Path, manifest: Manifest) -> None:
    text = manifest.model_dump_json(indent=2) + "\n"
    write_durably(path, lambda file: file.write(text.encode()))


def _figures_of(model_id: str, metrics: ModelFigures) -> dict[str, dict[str, float]]:
    if metrics.model_id != model_id:
        raise ExportError(
            f"expected figures of model {model_id}, which this is, got those of model"
            f" {metrics.model_id}; nothing was written"
        )
    return {protocol: dict(figures) for protocol, figures in metrics.figures.items()}


def refuse_existing(directory: Path) -> None:
    """Never write over what is there.

    Raises:
        ExportError: something exists at `directory` that is no empty directory.
    """
    if directory.is_symlink() or not (_is_empty(directory) or not directory.exists()):
        raise ExportError(f"{directory} exists already; name a directory that is new or empty")


def _is_empty(directory: Path) -> bool:
    return directory.is_dir() and not any(directory.iterdir())


def _read_manifest(path: Path) -> Manifest:
    try:
        text = path.read_bytes()
    except OSError as error:
        raise ArtifactError(
            f"expected a model directory with {path}, cannot read it: {error.strerror}"
        ) from error
    try:
        return Manifest.model_validate_json(text)
    except ValidationError as error:
        raise ArtifactError(f"{path}: {first_complaint(error)}") from error


def _sha256_of_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ArtifactError(
            f"expected a graph at {path}, cannot read it: {error.strerror}"
        ) from error
