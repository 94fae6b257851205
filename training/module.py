"""The Lightning module: one training step, validation by retrieval.

Owns no file and no command line: `training.run` builds the trainer around it.
"""

from collections.abc import Mapping
from contextlib import nullcontext
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
from training.averaging import RunningAverage
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
TRAINED = "mpanet_trained"
AVERAGE = "mpanet_average"


class MPANetModule(lightning.LightningModule):
    """Teaches `network` with `heads`; what each does is decided by the recipe alone.

    A checkpoint's `state_dict` holds the weights that serve: the running average where the recipe
    has one, without colour where it is colour-blind. What training goes on from stands beside it.

    Args:
        network: what is taught, as it starts.
        identities: classes of the classifiers.
        validation: held-out identities, in memory; ranked infrared to visible.
        source: recipe, commit and seed, written into every checkpoint.
    """

    def __init__(
        self,
        config: TrainingConfig,
        *,
        network: MPANet,
        identities: int,
        validation: LabelledPixels,
        seed: int,
        source: dict[str, Any],
    ) -> None:
        super().__init__()
        self.config = config
        self.seed = seed
        self.source = source
        self.network = network
        self.heads = IdentityHeads(config.network.feature_dim, identities)
        self._validation = validation
        decay = config.schedule.average_decay
        self._average = RunningAverage(decay) if decay else None
        if config.channels_last:
            self.network.to(memory_format=torch.channels_last)
        if config.compile:
            self.network.compile()

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
                mean_rate=mean_rate(self.config.losses, self.current_epoch + 1),
                images_per_person=self.config.batch.images_per_person,
            )
        self._log({"loss": total.detach(), **parts}, batch_size=len(images))
        return total

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_index: int) -> None:
        """Let the running average follow the step."""
        if self._average is not None:
            self._average.update(self.network)

    def validation_step(self, batch: Any, batch_index: int) -> None:
        """Rank the held-out identities; the loader yields one token batch a validation."""
        with nullcontext() if self._average is None else self._average.in_place_of(self.network):
            figures = self.validate_retrieval()
        self._log({"val_rank1": figures.rank1, "val_mAP": figures.mAP}, batch_size=1)

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
        """The recipe's optimiser; its rate falls by the epoch, or follows the step."""
        config = self.config.schedule
        optimizer = build_optimizer(self.config.optimizer, self.network, self.heads)
        by_step = config.decay != "steps" or config.warmup_epochs > 0
        # Epochs of the reference's sampling differ in length: milestones count epochs, not steps.
        steps = int(self.trainer.estimated_stepping_batches) // config.epochs if by_step else 1
        schedule = LambdaLR(optimizer, lambda step: rate_at(config, step, steps))
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step" if by_step else "epoch"},
        }

    @property
    def saved_beside(self) -> tuple[str, ...]:
        """What stands in a checkpoint beside the weights that serve, to go on from."""
        return (TRAINED,) if self._average is None else (TRAINED, AVERAGE)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what makes a checkpoint exportable without this module."""
        checkpoint["mpanet_config"] = self.config.network.model_dump(mode="json")
        checkpoint["mpanet_preprocessing"] = self.config.preprocessing.model_dump(mode="json")
        checkpoint["mpanet_source"] = dict(self.source)
        state = checkpoint["state_dict"]
        served = self._served(state)
        checkpoint[TRAINED] = {name: state[name] for name in served}
        if self._average is not None:
            checkpoint[AVERAGE] = self._average.state()
        state.update(served)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on from the weights as they were trained, not as they serve."""
        checkpoint["state_dict"].update(checkpoint[TRAINED])
        if self._average is not None:
            self._average.restore(checkpoint[AVERAGE], self.network)

    def _served(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Those entries of a state dict that serve otherwise than they were trained."""
        served: dict[str, Tensor] = {}
        if self._average is not None:
            served = {f"network.{name}": value for name, value in self._average.state().items()}
        if self.config.colour_blind:
            served |= self._without_colour({**state, **served})
        return served

    def _without_colour(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
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
        """Randomness of a step from seed, step and rank alone: a resumed run draws the same."""
        entropy = (self.seed, self.global_step, self.global_rank)
        value = int(np.random.SeedSequence(entropy).generate_state(1)[0])
        return torch.Generator(device).manual_seed(value)

    def _log(self, figures: Mapping[str, Tensor | float], batch_size: int) -> None:
        """Log the mean over an epoch, and over devices where there are several."""
        several = self.trainer.world_size > 1
        self.log_dict(
            dict(figures), on_step=False, on_epoch=True, sync_dist=several, batch_size=batch_size
        )
