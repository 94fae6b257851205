"""`run.json`: what a run says of itself, and whether it may be started or resumed in a folder."""

import hashlib
import json
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from model.durable_files import write_durably
from training.checkpoints import LAST
from training.datasets.sample import Dataset
from training.errors import RunError
from training.recipe import TrainingConfig

RECORD = "run.json"
PACKAGES = ("mpanet", "torch", "torchvision", "lightning", "numpy", "pillow")


def record_of(
    dataset: Dataset,
    config: TrainingConfig,
    *,
    recipe: str,
    seed: int,
    precision: str,
    devices: int,
) -> dict[str, Any]:
    """What `run.json` says of a run: the recipe as resolved, data, seed, commit, environment."""
    return {
        "recipe": recipe,
        "config": config.model_dump(mode="json"),
        "initialise_sha256": _file_hash(Path(config.initialise)),
        "dataset": dataset.name,
        "data": str(dataset.root),
        "samples": _samples_hash(dataset),
        "seed": seed,
        "commit": _current_commit(),
        "environment": {
            "python": platform.python_version(),
            "machine": platform.machine(),
            "precision": precision,
            "devices": devices,
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
            **{name: metadata.version(name) for name in PACKAGES},
        },
    }


def record_before(out: Path, record: dict[str, Any], *, resume: bool) -> dict[str, Any] | None:
    """The record of the run in `out` that is resumed; None for one that starts, if anew.

    Raises:
        RunError: `out` holds a run and `resume` was not asked for, or holds none that `record` goes
            on with.
    """
    if out.exists() and not out.is_dir():
        raise RunError(f"{out} is a file; expected a folder for the run")
    if not resume:
        if (out / LAST).exists():
            raise RunError(f"{out} holds a run already: --resume goes on with it, or name another")
        return None
    if not (out / LAST).is_file() and not (out / RECORD).is_file():
        raise RunError(f"{out / LAST}: nothing to resume; without --resume a run starts there")
    try:
        before: dict[str, Any] = json.loads((out / RECORD).read_text(encoding="utf-8"))
        same = {"config": _taught(before["config"]) == _taught(record["config"])}
        same |= {key: before.get(key) == record[key] for key in ("seed", "dataset", "samples")}
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise RunError(f"{out / RECORD}: cannot be read: {error!r}") from error
    for key, is_same in same.items():
        if not is_same:
            raise RunError(f"{out}: the run was started with another {key}; it cannot be resumed")
    return before if (out / LAST).is_file() else None


def resumed(before: dict[str, Any], record: dict[str, Any]) -> dict[str, Any]:
    """The record of the run as it was started, and where it was taken up again."""
    again = {key: record[key] for key in ("commit", "environment")}
    return before | {"resumed": [*before.get("resumed", []), again]}


def write_record(out: Path, record: dict[str, Any]) -> None:
    """Write `run.json`, whole or not at all.

    Raises:
        RunError: it cannot be written.
    """
    text = json.dumps(record, indent=2) + "\n"
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_durably(out / RECORD, lambda file: file.write(text.encode()))
    except OSError as error:
        raise RunError(f"{out}: the run cannot be written: {error.strerror}") from error


def _taught(config: dict[str, Any]) -> dict[str, Any]:
    """A recipe but for where the weights started: a resumed run has its own."""
    return {key: value for key, value in config.items() if key != "initialise"}


def _file_hash(path: Path) -> str | None:
    if not path.is_file():
        return None  # `imagenet`, `none`; that a file is missing is said where it is read
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _samples_hash(dataset: Dataset) -> str:
    """Which files teach and validate, as whom: a resumed run must go on with the same."""
    digest = hashlib.sha256()
    for split in (dataset.train, dataset.validation):
        for sample in split:
            name = sample.path.relative_to(dataset.root).as_posix()
            digest.update(os.fsencode(name))
            digest.update(f"\0{sample.person_id}\0{sample.camera_id}\0{sample.modality}\n".encode())
        digest.update(b"\0")
    return digest.hexdigest()


def _current_commit() -> str | None:
    """The commit of the checkout that this package runs from; None outside a checkout."""
    try:
        found = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return found.stdout.strip()
