"""Checkpoints of a run: when they are written, and that the last good one outlives a full disk."""

import errno
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch.callbacks import ModelCheckpoint

from model.durable_files import write_durably
from training.errors import RunError

LAST, BEST = "last.ckpt", "best.ckpt"


class DurableCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint beside its place and renames it: whole, or as it was before.

    Raises:
        RunError: it cannot be written; what was at the path is still there.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Save `checkpoint` at `path`."""
        path = Path(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_durably(path, lambda file: torch.save(checkpoint, file))
        except (OSError, RuntimeError) as error:
            kept = "the one before is kept" if path.exists() else "there is none yet"
            raise RunError(
                f"{path}: the checkpoint cannot be written ({_reason(error)}); {kept}"
            ) from error


def keep_last(out: Path) -> ModelCheckpoint:
    """Everything that a resumed run needs, after every epoch."""
    return ModelCheckpoint(
        dirpath=out,
        filename=Path(LAST).stem,
        every_n_epochs=1,
        save_on_train_epoch_end=True,
        enable_version_counter=False,
    )


def keep_best(out: Path) -> ModelCheckpoint:
    """The weights with the best mAP on the held-out identities."""
    return ModelCheckpoint(
        dirpath=out,
        filename=Path(BEST).stem,
        monitor="val_mAP",
        mode="max",
        save_weights_only=True,
        enable_version_counter=False,
    )


def _reason(error: BaseException) -> str:
    """The operating system's word where there is one; torch's writer hides it in a chain."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno is not None:
            return errno.errorcode.get(cause.errno, "") + f": {cause.strerror}"
        cause = cause.__cause__ or cause.__context__
    return str(error).splitlines()[0]
