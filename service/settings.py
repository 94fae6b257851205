"""`ServiceSettings`: everything a running service is told, from the environment or a caller.

Owns each default and the rules between settings. Does not know the command line, nor what the
name `demo` stands for.
"""

import difflib
import functools
import ipaddress
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from model.preprocessing import ImageLimits
from service.access.keys import read_keys

PREFIX = "MPANET_"
CLIENT_VARIABLES = frozenset({"MPANET_URL"})
SECRETS = frozenset({"api_key", "redis_url", "qdrant_url", "crop_store"})
MISSPELT = 0.85
"""How alike a variable's name must be to that of a setting to be taken for a slip."""

_URL = re.compile(r"[a-z][a-z0-9+.-]*://.+")

logger = logging.getLogger(__name__)


class SettingsError(ValueError):
    """A setting cannot be used; the message names it, what was expected and what came."""


class ServiceSettings(BaseSettings):
    """The settings of one service process; each also by environment, prefix `MPANET_`."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="forbid", env_ignore_empty=True
    )

    model: Path = Field(description="directory of the model artifact, or `demo`")
    data: Path = Field(description="directory of the gallery")
    models: Path | None = Field(
        default=None, description="directory of the models; `models` in the data directory"
    )
    max_model_bytes: int = Field(
        default=2**30, ge=1, description="most bytes of a model that is published"
    )
    publish_timeout_s: float = Field(
        default=60, gt=0, le=3600, description="seconds within which a published model must run"
    )
    publish_read_timeout_s: float = Field(
        default=900, gt=0, le=86_400, description="seconds within which a model must have arrived"
    )
    evaluation_set: str | None = Field(
        default=None,
        min_length=1,
        description="labelled crops that a new model is measured on: a folder, or NAME:FOLDER",
    )
    evaluation_margin: float = Field(
        default=1.0,
        ge=0,
        le=100,
        description="percentage points of mAP that a new model may be worse there",
    )
    host: str = Field(default="127.0.0.1", min_length=1, description="address to listen on")
    port: int = Field(
        default=8000, ge=0, le=65535, description="port to listen on; 0 picks a free one"
    )
    redis_url: SecretStr | None = Field(
        default=None,
        description="Redis that keeps the metadata, instead of SQLite in the data directory",
    )
    qdrant_url: SecretStr | None = Field(
        default=None,
        description="Qdrant that keeps the vectors, for several services on one gallery",
    )
    crop_store: SecretStr | None = Field(
        default=None, description="where the crops of such a gallery are, a URL that fsspec opens"
    )
    store_crops: bool = Field(
        default=True,
        description="keep the crops; without them entries cannot be embedded by another model",
    )
    retention_days: int | None = Field(
        default=None,
        ge=1,
        le=36_500,
        description="age in days at which entries expire by their capture time",
    )
    recall_target: float = Field(
        default=0.99,
        gt=0.5,
        le=1,
        description="least share of the ten nearest entries that searches must find",
    )
    api_key: SecretStr | None = Field(
        default=None, description="key that clients must send; several separated by commas"
    )
    keys: Path | None = Field(
        default=None,
        description="file of hashed API keys (`mpanet keys`); keys.json in the data directory",
    )
    rate_limit: int | None = Field(
        default=None,
        ge=1,
        le=1_000_000,
        description="requests a key may make in a minute, unless the key has its own limit",
    )
    insecure: bool = Field(
        default=False, description="listen beyond this machine although there is no API key"
    )
    audit_days: int = Field(
        default=365, ge=1, le=36_500, description="days that the audit log is kept"
    )
    log_format: Literal["json", "text"] = Field(
        default="json", description="how log lines are written"
    )
    provider: str = Field(
        default="auto", min_length=1, description="execution provider of the encoder"
    )
    threads: int | None = Field(
        default=None, ge=1, le=1024, description="threads of the encoder; by default one a core"
    )
    decode_threads: int = Field(default=2, ge=1, le=256, description="threads that decode images")
    max_upload_bytes: int = Field(
        default=ImageLimits.max_bytes, ge=1, description="most bytes of one image"
    )
    max_request_bytes: int = Field(
        default=64 * 2**20, ge=1, description="most bytes of one request"
    )
    max_pixels: int = Field(
        default=ImageLimits.max_pixels, ge=64, description="most pixels of one image"
    )
    max_files: int = Field(default=256, ge=1, description="most images of one request")
    max_batch: int = Field(
        default=32, ge=1, le=1024, description="most crops in one run of the encoder"
    )
    max_batch_s: float = Field(
        default=0.1,
        gt=0,
        le=60,
        description="seconds that a run of the encoder should take at most",
    )
    refresh_batch_s: float = Field(
        default=0.015,
        gt=0,
        le=60,
        description="seconds that a run of the encoder for a refresh should take at most",
    )
    max_queue: int = Field(
        default=512,
        ge=1,
        description="most crops of queries, and of enrolments, at once; more are answered 503",
    )
    max_bytes_in_flight: int = Field(
        default=256 * 2**20,
        ge=1,
        description="most bytes of request bodies in the service at once; more are answered 503",
    )
    max_connections: int = Field(
        default=1024, ge=1, description="most connections at once; more are answered 503"
    )
    query_deadline_s: float = Field(
        default=10, gt=0, le=3600, description="seconds within which a query is answered or refused"
    )
    enroll_deadline_s: float = Field(
        default=60,
        gt=0,
        le=3600,
        description="seconds within which the crops of an enrolment are embedded or refused",
    )
    explain_kept_s: float = Field(
        default=600,
        gt=0,
        le=86_400,
        description="seconds that a query asked with `explain` may be looked into, from memory",
    )
    read_timeout_s: float = Field(
        default=30, gt=0, le=3600, description="seconds within which a request must have arrived"
    )
    shutdown_s: float = Field(
        default=10, gt=0, le=3600, description="seconds that a stop waits for what is under way"
    )

    @field_validator("redis_url")
    @classmethod
    def _is_redis(cls, value: SecretStr | None) -> SecretStr | None:
        schemes = ("redis://", "rediss://", "unix://")
        if value is not None and not value.get_secret_value().startswith(schemes):
            raise ValueError("a URL that starts with redis://, rediss:// or unix://")
        return value

    @field_validator("qdrant_url")
    @classmethod
    def _is_http(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not value.get_secret_value().startswith(("http://", "https://")):
            raise ValueError("a URL that starts with http:// or https://")
        return value

    @field_validator("crop_store")
    @classmethod
    def _is_url(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not _URL.fullmatch(value.get_secret_value()):
            raise ValueError("a URL that fsspec opens, such as file:///crops or s3://bucket/crops")
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> "ServiceSettings":
        if self.api_key is not None and not self.api_keys:
            raise ValueError("api_key: expected at least one key, came only commas and spaces")
        has_keys = bool(read_keys(self.keys_file) or self.api_keys)
        if not (has_keys or self.insecure or is_loopback(self.host)):
            raise ValueError(
                f"listening on {self.host}, beyond this machine, needs an API key"
                " (`mpanet keys create`, or MPANET_API_KEY) or --insecure"
            )
        self._check_shared()
        if self.max_queue < self.max_files:
            raise ValueError(
                f"max_queue: expected at least max_files ({self.max_files}), came {self.max_queue}"
            )
        return self

    def _check_shared(self) -> None:
        """A gallery of several services keeps everything outside of them."""
        if self.qdrant_url is None and self.crop_store is not None:
            raise ValueError(
                "crop_store (MPANET_CROP_STORE) is of a shared gallery:"
                " expected qdrant_url (MPANET_QDRANT_URL) with it, came none"
            )
        for name in ("redis_url", "crop_store"):
            if self.qdrant_url is not None and getattr(self, name) is None:
                raise ValueError(
                    "qdrant_url (MPANET_QDRANT_URL) makes a shared gallery:"
                    f" expected {name} ({PREFIX}{name.upper()}) with it, came none"
                )

    @property
    def keys_file(self) -> Path:
        """Where the hashed API keys are, if there are any."""
        return self.keys or self.data / "keys.json"

    @property
    def models_directory(self) -> Path:
        """Where the models are."""
        return self.models or self.data / "models"

    @property
    def api_keys(self) -> tuple[str, ...]:
        """The keys that clients may send; empty: none is needed."""
        text = self.api_key.get_secret_value() if self.api_key else ""
        return tuple(key.strip() for key in text.split(",") if key.strip())


def load_settings(overrides: Mapping[str, object], environ: Mapping[str, str]) -> ServiceSettings:
    """Build the settings from the environment of this process and what stands above it.

    Raises: SettingsError in one line, also for a misspelt variable `MPANET_*`; others that are none
    of ours (an orchestrator's, the compose file's) are named in a warning.
    """
    _refuse_unknown(environ)
    try:
        return ServiceSettings(**overrides)  # type: ignore[arg-type]
    except ValidationError as error:
        raise SettingsError("; ".join(_lines(error))) from None


@functools.lru_cache(64)
def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _refuse_unknown(environ: Mapping[str, str]) -> None:
    known = {PREFIX + name.upper() for name in ServiceSettings.model_fields} | CLIENT_VARIABLES
    for name in sorted(environ):
        if name.startswith(PREFIX) and name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=MISSPELT)
            if near:
                raise SettingsError(
                    f"the environment variable {name} is not a setting; did you mean {near[0]}?"
                )
            logger.warning("the environment variable %s is not a setting; it is ignored", name)


def _lines(error: ValidationError) -> list[str]:
    lines = []
    for detail in error.errors():
        reason = detail["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
        if not detail["loc"]:
            lines.append(reason)
            continue
        name = str(detail["loc"][0])
        option = f"--{name.replace('_', '-')} (or {PREFIX}{name.upper()})"
        if detail["type"] == "missing":
            lines.append(f"{option} is required")
        elif name in SECRETS:
            lines.append(f"{option}: expected {reason}")
        else:
            lines.append(f"{option}: expected {reason}, came {detail['input']!r}")
    return lines
