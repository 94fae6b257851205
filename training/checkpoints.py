"""Checkpoints of a run: when they are written, that the last good one outlives a full disk, and
whether one can be gone on from.
"""

import errno
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from model.durable_files import write_durably
from model.errors import CheckpointError
from model.network.checkpoint import read_contents
from model.network.mpanet import check_keys_and_shapes
from training.errors import RunError

LAST, BEST = "last.ckpt", "best.ckpt"
# Beside `state_dict`: what Lightning needs to go on.
PROGRESS = (
    "callbacks", "epoch", "global_step", "loops", "lr_schedulers", "optimizer_states",
    "pytorch-lightning_version",
)  # fmt: skip


class DurableCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint beside its place and renames it: whole, or as it was before.

    Raises:
        RunError: it cannot be written; what was at the path is still there.
        KeyboardInterrupt: stopped by hand while writing; the same holds.
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
            if any(isinstance(cause, KeyboardInterrupt) for cause in _chain(error)):
                raise KeyboardInterrupt from None  # torch's writer complains that it was cut short
            kept = "the one before is kept" if path.exists() else "there is none yet"
            raise RunError(
                f"{path}: the checkpoint cannot be written ({_reason(error)}); {kept}"
            ) from error


class KeptCheckpoint(ModelCheckpoint):
    """A checkpoint of one name in the run's folder, wherever that folder is by now."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up what was kept. Lightning forgets it, the best figure too, in a moved folder."""
        kept = self._here(state_dict["best_model_path"])
        if kept and not Path(kept).is_file():
            return  # lost: the next one is the best again
        paths = ("best_model_path", "kth_best_model_path", "last_model_path")
        super().load_state_dict(
            state_dict
            | {name: self._here(state_dict[name]) for name in paths}
            | {"dirpath": self.dirpath}
            | {"best_k_models": {self._here(k): v for k, v in state_dict["best_k_models"].items()}}
        )

    def _here(self, path: str) -> str:
        assert self.dirpath is not None
        return str(Path(self.dirpath) / Path(path).name) if path else path


def refuse_unfit(path: Path, state: Mapping[str, Tensor], beside: Sequence[str]) -> None:
    """Refuse a checkpoint that a run cannot go on from, before anything is restored or written.

    Args:
        state: the state of the module that it is to fill: its keys and shapes are expected.
        beside: keys that the recipe needs in the checkpoint, such as the running average.

    Raises:
        RunError: it is damaged, lacks a part, or is of another architecture; names file and key.
    """
    try:
        contents = read_contents(path)
        for key in ("state_dict", *PROGRESS, *beside):
            if key not in contents:
                raise RunError(f"{path}: expected a checkpoint that a run goes on from: no {key}")
        expected = {name: tensor.shape for name, tensor in state.items()}
        check_keys_and_shapes(expected, contents["state_dict"], where=str(path))
    except CheckpointError as error:
        raise RunError(str(error)) from error


def discard_partial(out: Path) -> None:
    """Remove what a killed process had begun to write: no checkpoint, and as large as one."""
    for name in (LAST, BEST):
        for partial in out.glob(f".{name}.*"):
            partial.unlink(missing_ok=True)


def keep_last(out: Path) -> ModelCheckpoint:
    """Everything that a resumed run needs, after every epoch."""
    return KeptCheckpoint(
        dirpath=out,
        filename=Path(LAST).stem,
        every_n_epochs=1,
        save_on_train_epoch_end=True,
        enable_version_counter=False,
    )


def keep_best(out: Path) -> ModelCheckpoint:
    """The weights with the best mAP on the held-out identities."""
    return KeptCheckpoint(
        dirpath=out,
        filename=Path(BEST).stem,
        monitor="val_mAP",
        mode="max",
        save_weights_only=True,
        enable_version_counter=False,
    )


def _reason(error: BaseException) -> str:
    """The operating system's word where there is one; torch's writer hides it in a chain."""
    for cause in _chain(error):
        if isinstance(cause, OSError) and cause.errno is not None:
            return errno.errorcode.get(cause.errno, "") + f": {cause.strerror}"
    return str(error).splitlines()[0]


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and what it came from."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__
