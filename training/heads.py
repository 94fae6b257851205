"""The classifiers that teach the network and are left behind at export.

One identity classifier, one a modality, and their exponential-moving-average copies. The network
itself knows nothing of them.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional


class ModalityLogits(NamedTuple):
    """Logits of the modality classifiers, visible rows first, with the labels in that order."""

    own: Tensor
    other_mean: Tensor
    visible_rows: int
    labels: Tensor


class IdentityHeads(nn.Module):
    """Linear classifiers (no bias) over the embedding after the BN neck.

    Parameter names are those of the published checkpoint, apart from the means, which are buffers.
    """

    mean_visible: Tensor
    mean_infrared: Tensor

    def __init__(self, embedding_dim: int, identities: int) -> None:
        super().__init__()
        self.classifier = nn.Linear(embedding_dim, identities, bias=False)
        self.visible_classifier = nn.Linear(embedding_dim, identities, bias=False)
        self.infrared_classifier = nn.Linear(embedding_dim, identities, bias=False)
        self.register_buffer("mean_visible", self.visible_classifier.weight.detach().clone())
        self.register_buffer("mean_infrared", self.infrared_classifier.weight.detach().clone())

    @torch.no_grad()
    def update_means(self, rate: float) -> None:
        """Move the mean classifiers towards their originals: mean = (1 - rate) mean + rate own."""
        self.mean_visible.lerp_(self.visible_classifier.weight, rate)
        self.mean_infrared.lerp_(self.infrared_classifier.weight, rate)

    def modality_logits(
        self, embedding: Tensor, labels: Tensor, infrared: Tensor
    ) -> ModalityLogits:
        """Logits of each row's own modality classifier and of the other modality's mean.

        Args:
            embedding: (N, D) after the BN neck.
            infrared: (N,) bool.
        """
        visible, thermal = embedding[~infrared], embedding[infrared]
        own = torch.cat([self.visible_classifier(visible), self.infrared_classifier(thermal)])
        with torch.no_grad():
            mean = torch.cat(
                [
                    functional.linear(visible, self.mean_infrared),
                    functional.linear(thermal, self.mean_visible),
                ]
            )
        order = torch.cat([labels[~infrared], labels[infrared]])
        return ModalityLogits(own, mean, len(visible), order)
