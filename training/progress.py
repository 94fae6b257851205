"""One progress bar for a whole run, with the time left until its end."""

from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback
from tqdm import tqdm


class RunProgress(Callback):
    """Counts steps over all epochs on stderr and shows the epoch, the loss and validation."""

    def __init__(self) -> None:
        self._bar: tqdm[Any] | None = None

    def on_train_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        self._bar = tqdm(
            total=int(trainer.estimated_stepping_batches),
            initial=trainer.global_step,
            desc="training",
            unit="step",
            dynamic_ncols=True,
        )

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        if self._bar is not None:
            self._bar.update(1)

    def on_train_epoch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        if self._bar is None:
            return
        shown = ("loss", "val_rank1", "val_mAP")
        figures = {
            name: f"{float(trainer.callback_metrics[name]):.2f}"
            for name in shown
            if name in trainer.callback_metrics
        }
        epoch = f"{trainer.current_epoch + 1}/{trainer.max_epochs}"
        self._bar.set_postfix({"epoch": epoch, **figures})

    def on_train_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        self._close()

    def on_exception(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        exception: BaseException,
    ) -> None:
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
