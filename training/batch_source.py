"""The loaders of a run, built when Lightning asks: its epoch and its rank are known then.

An epoch by the reference's sampling has its own length. Lightning reads it when it loads anew, so
the trainer needs `reload_dataloaders_every_n_epochs=1` and the sampler its epoch before that: else
an epoch is cut to the length of another, or ends before its validation.
"""

from typing import Any

import lightning
import torch
from torch.utils.data import DataLoader, TensorDataset

from training.data import Batch, LabelledPixels, batches
from training.recipe import TrainingConfig


class BatchSource(lightning.LightningDataModule):
    """This process's share of every epoch's batches, and one token batch a validation.

    The module validates over its own pixels, once: the token only makes Lightning call it.
    """

    def __init__(self, split: LabelledPixels, config: TrainingConfig, seed: int) -> None:
        super().__init__()
        self._split = split
        self._config = config
        self._seed = seed

    def train_dataloader(self) -> DataLoader[Batch]:
        """The batches of the trainer's epoch for its rank."""
        assert self.trainer is not None
        loader = batches(
            self._split,
            self._config,
            self._seed,
            rank=self.trainer.global_rank,
            world_size=self.trainer.world_size,
        )
        loader.sampler.set_epoch(self.trainer.current_epoch)  # type: ignore[attr-defined]
        return loader

    def val_dataloader(self) -> DataLoader[Any]:
        """One empty batch."""
        return DataLoader(TensorDataset(torch.zeros(1)))
