"""A training run: its directory, the Lightning trainer around the module, start and resume.

The directory holds `run.json` (`training.run_record`), `metrics.csv`, `tensorboard/`, `last.ckpt`
after every epoch and `best.ckpt` by validation mAP.
"""

import errno
import logging
import os
import shutil
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger

from model.network.mpanet import MPANet
from training.batch_source import BatchSource
from training.checkpoints import (
    BEST,
    LAST,
    DurableCheckpoints,
    discard_partial,
    keep_best,
    keep_last,
    refuse_unfit,
)
from training.data import TrainingData, load_training_data
from training.datasets.sample import Dataset
from training.epoch_log import EpochLog
from training.errors import RunError
from training.initialisation import initialise
from training.module import MPANetModule
from training.progress import RunProgress
from training.recipe import TrainingConfig
from training.run_record import record_before, record_of, resumed, write_record

METRICS, TENSORBOARD = "metrics.csv", "tensorboard"
PIXELS = ".pixels"  # several processes map one copy of the decoded images


@dataclass(frozen=True)
class RunResult:
    """Where a finished run left its weights, what validation said, how long it took.

    `rank` is this process's among several; 0 speaks for the run.
    """

    rank: int
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
    devices: int = 1,
    progress: bool = True,
) -> RunResult:
    """Run a recipe on a dataset from its start, or from `last.ckpt` with `resume`.

    A run that was stopped before its first epoch was whole resumes at its start. With several
    `devices`, one process each: every one takes its own batches of P x K, so that a step sees
    `devices` times as many identities and an epoch has so many fewer steps.

    Raises:
        RunError: `out` holds a run and `resume` was not asked for, or holds none that fits; the
            weights to start from, or the checkpoint to go on from, do not fit; a checkpoint cannot
            be written; too many devices.
        DatasetError: the one report of what is wrong with the files.
        KeyboardInterrupt: stopped by hand; `last.ckpt` is that of the last whole epoch.
    """
    progress = progress and not int(os.environ.get("LOCAL_RANK", 0))  # Lightning started it
    _check_devices(devices)
    record = record_of(
        dataset, config, recipe=recipe, seed=seed, precision=resolve_precision(config),
        devices=devices,
    )  # fmt: skip
    before = record_before(out, record, resume=resume)
    lightning.seed_everything(seed, verbose=False)
    network = MPANet(config.network)
    checkpoint = out / LAST if resume and (out / LAST).is_file() else None
    if checkpoint is None:
        initialise(network, config.initialise)
    shared = out / PIXELS if devices > 1 else None
    data = load_training_data(dataset, config, progress=progress, shared=shared)
    module = MPANetModule(
        config,
        network=network,
        identities=data.identities,
        validation=data.validation,
        seed=seed,
        source={"recipe": recipe, "commit": record["commit"], "seed": seed},
    )
    if checkpoint is not None:
        refuse_unfit(checkpoint, module.state_dict(), module.saved_beside)
    began = time.monotonic()
    with _quiet_lightning(), _full_disk_reported(out):
        trainer = _trainer(config, data, out, devices, progress)
        if trainer.is_global_zero:
            if progress:
                print(*data.report.lines(), sep="\n", file=sys.stderr)
            write_record(out, record if before is None else resumed(before, record))
            discard_partial(out)
        try:
            _fit(trainer, module, data, config, seed, checkpoint)
        finally:
            if shared is not None and trainer.is_global_zero:
                shutil.rmtree(shared, ignore_errors=True)
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
    config: TrainingConfig, data: TrainingData, out: Path, devices: int, progress: bool
) -> lightning.Trainer:
    callbacks: list[Callback] = [EpochLog(out / METRICS)]
    if _validates(data):
        callbacks.append(keep_best(out))
    callbacks.append(keep_last(out))  # after the best: what goes on from the last must know it
    if progress:
        callbacks.append(RunProgress())
    return lightning.Trainer(
        accelerator="auto",
        devices=devices,
        strategy=_strategy(config, devices),
        precision=resolve_precision(config),  # type: ignore[arg-type]
        max_epochs=config.schedule.epochs,
        gradient_clip_val=config.optimizer.gradient_clip or None,
        check_val_every_n_epoch=config.validate_every,
        num_sanity_val_steps=0,
        limit_val_batches=1 if _validates(data) else 0,
        callbacks=callbacks,
        plugins=[DurableCheckpoints()],
        logger=TensorBoardLogger(out, name="", version=TENSORBOARD),
        log_every_n_steps=1,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,  # ours gives each device its own batches
        reload_dataloaders_every_n_epochs=1,  # an epoch's length may differ from the last one's
    )


def _strategy(config: TrainingConfig, devices: int) -> str:
    """One process a device; without mutual learning the modality classifiers have no gradient."""
    if devices == 1:
        return "auto"
    return "ddp" if config.losses.mutual_learning else "ddp_find_unused_parameters_true"


def _fit(
    trainer: lightning.Trainer,
    module: MPANetModule,
    data: TrainingData,
    config: TrainingConfig,
    seed: int,
    checkpoint: Path | None,
) -> None:
    source = BatchSource(data.train, config, seed)
    try:
        trainer.fit(module, datamodule=source, ckpt_path=checkpoint)
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


@contextmanager
def _full_disk_reported(out: Path) -> Iterator[None]:
    """The logs meet a full disk too; what happened to a checkpoint its writer says."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS):
            raise
        kept = (
            f"{LAST} is that of the last whole epoch" if (out / LAST).exists() else "no epoch yet"
        )
        raise RunError(f"{out}: the logs cannot be written ({error.strerror}); {kept}") from error


def _validates(data: TrainingData) -> bool:
    infrared = data.validation.infrared
    return bool(infrared.any() and not infrared.all())


def _check_devices(devices: int) -> None:
    """Without a GPU any number of processes shares the processor."""
    gpus = torch.cuda.device_count()
    if gpus and devices > gpus:
        raise RunError(f"expected at most {gpus} devices, the GPUs of this machine, got {devices}")


def _result(trainer: lightning.Trainer, out: Path, minutes: float) -> RunResult:
    figures = trainer.callback_metrics
    rank1, mean = figures.get("val_rank1"), figures.get("val_mAP")
    return RunResult(
        rank=trainer.global_rank,
        last=out / LAST,
        best=out / BEST if (out / BEST).is_file() else None,
        val_rank1=None if rank1 is None else float(rank1),
        val_map=None if mean is None else float(mean),
        minutes=minutes,
    )
