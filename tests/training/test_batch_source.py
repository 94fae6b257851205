"""The loaders of a run: every epoch whole, whatever its length, also after a resume."""

from pathlib import Path
from typing import Any

import lightning
import numpy as np
import pytest
import torch
from torch import Tensor

from training.batch_source import BatchSource
from training.data import Batch, LabelledPixels, batches
from training.recipe import TrainingConfig

COUNTS = [(8, 8), (8, 8), (4, 4), (2, 2), (2, 2)]
EPOCHS = 8


@pytest.fixture
def split() -> LabelledPixels:
    """Five persons of different counts; the first pixel of a row is its number."""
    infrared = [place >= v for v, i in COUNTS for place in range(v + i)]
    persons = [person for person, (v, i) in enumerate(COUNTS) for _ in range(v + i)]
    pixels = np.broadcast_to(
        np.arange(len(persons), dtype=np.uint8)[:, None, None, None], (len(persons), 4, 4, 3)
    )
    return LabelledPixels(
        np.ascontiguousarray(pixels),
        np.array(persons, dtype=np.int64),
        np.ones(len(persons), dtype=np.int64),
        np.array(infrared),
    )


def recipe(config: TrainingConfig, sampling: str) -> TrainingConfig:
    batch = config.batch.model_copy(update={"sampling": sampling, "persons": 3})
    return config.model_copy(update={"batch": batch})


class Watcher(lightning.LightningModule):
    """Learns nothing; remembers which rows it saw in which epoch, and when it validated."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.seen: dict[int, list[list[int]]] = {}
        self.validated: list[int] = []

    def training_step(self, batch: Batch, index: int) -> Tensor:
        rows = batch.pixels[:, 0, 0, 0].tolist()
        self.seen.setdefault(self.current_epoch, []).append(rows)
        return self.weight.sum()

    def validation_step(self, batch: Any, index: int) -> None:
        self.validated.append(self.current_epoch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(watcher: Watcher, source: BatchSource, epochs: int, **more: Any) -> lightning.Trainer:
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        num_sanity_val_steps=0,
        reload_dataloaders_every_n_epochs=1,
        use_distributed_sampler=False,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(watcher, datamodule=source, **more)
    return trainer


def expected(split: LabelledPixels, config: TrainingConfig) -> dict[int, list[list[int]]]:
    loader = batches(split, config, seed=0)
    epochs = {}
    for epoch in range(EPOCHS):
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        epochs[epoch] = [rows.tolist() for rows in loader.sampler]
    return epochs


@pytest.mark.filterwarnings("ignore:.*does not have many workers")
@pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec")
@pytest.mark.parametrize("sampling", ["balanced", "reference"])
def test_every_epoch_is_whole_and_validated(
    split: LabelledPixels, tiny_recipe: TrainingConfig, sampling: str, tmp_path: Path
) -> None:
    config = recipe(tiny_recipe, sampling)
    epochs = expected(split, config)
    assert (len({len(epoch) for epoch in epochs.values()}) > 1) == (sampling == "reference")

    whole = Watcher()
    fit(whole, BatchSource(split, config, 0), EPOCHS)
    assert whole.seen == epochs
    assert whole.validated == list(range(EPOCHS))

    begun = fit(Watcher(), BatchSource(split, config, 0), 3)
    begun.save_checkpoint(tmp_path / "last.ckpt")
    resumed = Watcher()
    fit(resumed, BatchSource(split, config, 0), EPOCHS, ckpt_path=tmp_path / "last.ckpt")
    assert resumed.seen == {epoch: epochs[epoch] for epoch in range(3, EPOCHS)}
