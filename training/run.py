"""A training run: its directory, the Lightning trainer around the module, start and resume.

The directory holds `run.json` (recipe as resolved, dataset, seed, commit, environment),
`metrics.csv`, `last.ckpt` after every epoch and `best.ckpt` by validation mAP.
"""

import hashlib
import json
import logging
import platform
import subprocess
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch.utils.data import DataLoader, TensorDataset

from training.data import TrainingData, batches, load_training_data
from training.datasets.sample import Dataset
from training.errors import RunError
from training.module import MPANetModule
from training.progress import RunProgress
from training.recipe import TrainingConfig

LAST, BEST, RECORD = "last.ckpt", "best.ckpt", "run.json"
PACKAGES = ("mpanet", "torch", "torchvision", "lightning", "numpy", "pillow")


@dataclass(frozen=True)
class RunResult:
    """Where a finished run left its weights, what validation said, how long it took."""

    last: Path
    best: Path | None
    val_rank1: float | None
    val_map: float | None
    minutes: float


def train(
    dataset: Dataset,
    config: TrainingConfig,
    out: Path,
    *,
    recipe: str,
    seed: int,
    resume: bool = False,
    progress: bool = True,
) -> RunResult:
    """Run a recipe on a dataset from its start, or from `last.ckpt` with `resume`.

    Raises:
        RunError: `out` holds a run and `resume` was not asked for, or holds none that fits.
        DatasetError: the one report of what is wrong with the files.
        KeyboardInterrupt: stopped by hand; `last.ckpt` is that of the last whole epoch.
    """
    record = _record(dataset, config, recipe, seed)
    _check_directory(out, record, resume)
    data = load_training_data(dataset, config, progress=progress)
    lightning.seed_everything(seed, verbose=False)
    module = MPANetModule(
        config,
        identities=data.identities,
        validation=data.validation,
        seed=seed,
        source={"recipe": recipe, "commit": record["commit"], "seed": seed},
    )
    out.mkdir(parents=True, exist_ok=True)
    (out / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    began = time.monotonic()
    with _quiet_lightning():
        trainer = _trainer(config, data, out, progress)
        _fit(trainer, module, data, config, seed, out / LAST if resume else None)
    return _result(trainer, out, (time.monotonic() - began) / 60)


def resolve_precision(config: TrainingConfig) -> str:
    """Lightning's name of the precision: bf16 autocast where the machine computes in it."""
    if config.precision == "fp32":
        return "32-true"
    if config.precision == "bf16":
        return "bf16-mixed"
    if torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported() else "32-true"
    supported = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return "bf16-mixed" if supported else "32-true"


def _trainer(
    config: TrainingConfig, data: TrainingData, out: Path, progress: bool
) -> lightning.Trainer:
    callbacks: list[Callback] = [_keep_last(out)]
    if _validates(data):
        callbacks.append(_keep_best(out))
    if progress:
        callbacks.append(RunProgress())
    return lightning.Trainer(
        accelerator="auto",
        devices=1,
        precision=resolve_precision(config),  # type: ignore[arg-type]
        max_epochs=config.schedule.epochs,
        gradient_clip_val=config.optimizer.gradient_clip or None,
        check_val_every_n_epoch=config.validate_every,
        num_sanity_val_steps=0,
        limit_val_batches=1 if _validates(data) else 0,
        callbacks=callbacks,
        logger=CSVLogger(out, name="", version=""),
        log_every_n_steps=1,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def _fit(
    trainer: lightning.Trainer,
    module: MPANetModule,
    data: TrainingData,
    config: TrainingConfig,
    seed: int,
    checkpoint: Path | None,
) -> None:
    try:
        trainer.fit(module, batches(data.train, config, seed), once(), ckpt_path=checkpoint)
    except SystemExit:
        if trainer.interrupted:  # Lightning turns Ctrl-C into an exit
            raise KeyboardInterrupt from None
        raise


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Leave out what Lightning says of every run, and of our choices, which are meant."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        for message in (
            ".*does not have many workers.*",  # the pixels are in memory already
            ".*exists and is not empty.*",  # a resumed run
            ".*isinstance.treespec, LeafSpec.*",  # Lightning's own use of torch
        ):
            warnings.filterwarnings("ignore", message=message)
        yield


def once() -> DataLoader[Any]:
    """One empty batch: the module validates over its own pixels, once."""
    return DataLoader(TensorDataset(torch.zeros(1)))


def _keep_last(out: Path) -> ModelCheckpoint:
    return ModelCheckpoint(
        dirpath=out,
        filename=Path(LAST).stem,
        every_n_epochs=1,
        save_on_train_epoch_end=True,
        enable_version_counter=False,
    )


def _keep_best(out: Path) -> ModelCheckpoint:
    return ModelCheckpoint(
        dirpath=out,
        filename=Path(BEST).stem,
        monitor="val_mAP",
        mode="max",
        save_weights_only=True,
        enable_version_counter=False,
    )


def _validates(data: TrainingData) -> bool:
    infrared = data.validation.infrared
    return bool(infrared.any() and not infrared.all())


def _check_directory(out: Path, record: dict[str, Any], resume: bool) -> None:
    if out.exists() and not out.is_dir():
        raise RunError(f"{out} is a file; expected a folder for the run")
    if not resume:
        if (out / LAST).exists():
            raise RunError(f"{out} holds a run already: --resume goes on with it, or name another")
        return
    if not (out / LAST).is_file():
        raise RunError(f"{out / LAST}: nothing to resume")
    try:
        before = json.loads((out / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{out / RECORD}: cannot be read: {error}") from error
    for key in ("config", "seed", "dataset", "samples"):
        if before.get(key) != record[key]:
            raise RunError(f"{out}: the run was started with another {key}; it cannot be resumed")


def _record(dataset: Dataset, config: TrainingConfig, recipe: str, seed: int) -> dict[str, Any]:
    return {
        "recipe": recipe,
        "config": config.model_dump(mode="json"),
        "dataset": dataset.name,
        "data": str(dataset.root),
        "samples": _samples_hash(dataset),
        "seed": seed,
        "commit": current_commit(),
        "environment": {
            "python": platform.python_version(),
            "machine": platform.machine(),
            **{name: metadata.version(name) for name in PACKAGES},
        },
    }


def _samples_hash(dataset: Dataset) -> str:
    """Which files teach and validate, as whom: a resumed run must go on with the same."""
    digest = hashlib.sha256()
    for split in (dataset.train, dataset.validation):
        for sample in split:
            name = sample.path.relative_to(dataset.root).as_posix()
            digest.update(
                f"{name}\0{sample.person_id}\0{sample.camera_id}\0{sample.modality}\n".encode()
            )
        digest.update(b"\0")
    return digest.hexdigest()


def current_commit() -> str | None:
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


def _result(trainer: lightning.Trainer, out: Path, minutes: float) -> RunResult:
    figures = trainer.callback_metrics
    rank1, mean = figures.get("val_rank1"), figures.get("val_mAP")
    return RunResult(
        last=out / LAST,
        best=out / BEST if (out / BEST).is_file() else None,
        val_rank1=None if rank1 is None else float(rank1),
        val_map=None if mean is None else float(mean),
        minutes=minutes,
    )
