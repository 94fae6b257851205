"""The Lightning module: one training step, validation by retrieval.

Owns no file and no command line: `training.run` builds the trainer around it.
"""

from typing import Any

import lightning
import numpy as np
import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torch.optim.lr_scheduler import LambdaLR

from model.network.mpanet import Features, MPANet
from training.augmentation import augment, decoloured, normalise
from training.colour_blind import STEM_MEAN, STEM_WEIGHT, fold_luminance
from training.data import Batch, LabelledPixels
from training.heads import IdentityHeads
from training.metrics import Figures, retrieval_figures
from training.objective import mean_rate, objective
from training.optimisation import build_optimizer, rate_at
from training.protocols.embedded import normalised
from training.recipe import TrainingConfig

VALIDATION_BATCH = 64
STEM = (f"network.{STEM_WEIGHT}", f"network.{STEM_MEAN}")
SEEING = "colour_seeing_stem"


class MPANetModule(lightning.LightningModule):
    """Teaches `network` with `heads`; what each does is decided by the recipe alone.

    Args:
        identities: classes of the classifiers.
        validation: held-out identities, in memory; ranked infrared to visible.
        source: recipe, commit and seed, written into every checkpoint.
    """

    def __init__(
        self,
        config: TrainingConfig,
        *,
        identities: int,
        validation: LabelledPixels,
        seed: int,
        source: dict[str, Any],
    ) -> None:
        super().__init__()
        self.config = config
        self.seed = seed
        self.source = source
        self.network = MPANet(config.network)
        self.heads = IdentityHeads(config.network.feature_dim, identities)
        self._validation = validation
        if config.channels_last:
            self.network.to(memory_format=torch.channels_last)

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        images = augment(
            batch.pixels,
            batch.infrared,
            self.config.augmentation,
            self.config.preprocessing,
            self._generator(batch.pixels.device),
        )
        if self.current_epoch < self.config.schedule.half_size_epochs:
            images = functional.avg_pool2d(images, 2)
        features: Features = self.network(images)
        with torch.autocast(self.device.type, enabled=False):
            total, parts = objective(
                features,
                batch.labels,
                batch.infrared,
                self.heads,
                self.config.losses,
                mean_rate(self.config.losses, self.current_epoch + 1),
            )
        self.log("loss", total.detach(), prog_bar=True, on_step=False, on_epoch=True)
        self.log_dict(parts, on_step=False, on_epoch=True)
        return total

    def validation_step(self, batch: Any, batch_index: int) -> None:
        """Rank the held-out identities; the loader yields one token batch a validation."""
        figures = self.validate_retrieval()
        self.log("val_rank1", figures.rank1, prog_bar=True)
        self.log("val_mAP", figures.mAP, prog_bar=True)

    def validate_retrieval(self) -> Figures:
        """Infrared to visible among the held-out identities, by cosine; every image counts."""
        split = self._validation
        starts = range(0, len(split.pixels), VALIDATION_BATCH)
        embeddings = normalised(
            np.concatenate(
                [self._embed(split.pixels[start : start + VALIDATION_BATCH]) for start in starts]
            )
        )
        query, gallery = split.infrared, ~split.infrared
        return retrieval_figures(
            embeddings[query] @ embeddings[gallery].T,
            split.person_ids[query],
            split.person_ids[gallery],
        )

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """The recipe's optimiser, its rate scheduled by the step."""
        optimizer = build_optimizer(self.config.optimizer, self.network, self.heads)
        steps = int(self.trainer.estimated_stepping_batches) // self.config.schedule.epochs
        schedule = LambdaLR(optimizer, lambda step: rate_at(self.config.schedule, step, steps))
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what makes a checkpoint exportable without this module."""
        checkpoint["mpanet_config"] = self.config.network.model_dump(mode="json")
        checkpoint["mpanet_preprocessing"] = self.config.preprocessing.model_dump(mode="json")
        checkpoint["mpanet_source"] = dict(self.source)
        if self.config.colour_blind:
            state = checkpoint["state_dict"]
            checkpoint[SEEING] = {name: state[name] for name in STEM}
            state.update(self._without_colour(state))

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on from the weights as they were trained, not as they serve."""
        checkpoint["state_dict"].update(checkpoint.get(SEEING, {}))

    def _without_colour(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        weight, mean = (state[name] for name in STEM)
        folded = fold_luminance(weight, mean, self.config.preprocessing)
        return dict(zip(STEM, folded, strict=True))

    def _embed(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        images = torch.from_numpy(pixels).to(self.device)
        if self.config.colour_blind:
            images = decoloured(images)
        features: Features = self.network(normalise(images, self.config.preprocessing))
        return np.asarray(features.embedding.float().cpu().numpy())

    def _generator(self, device: torch.device) -> torch.Generator:
        """Randomness of one step from (seed, step) alone, so that a resumed run draws the same."""
        value = int(np.random.SeedSequence((self.seed, self.global_step)).generate_state(1)[0])
        return torch.Generator(device).manual_seed(value)
