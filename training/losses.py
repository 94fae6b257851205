"""The losses of MPANet as pure functions of tensors. Knows no network, no recipe, no schedule.

Source: Wu et al., CVPR 2021, section 3; details that the paper leaves open follow the authors'
implementation (DoubtedSteam/MPANet, commit f57fd5c).
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional


class CenterCluster(NamedTuple):
    """The two parts of the centre cluster loss, both scalars."""

    pull: Tensor
    push: Tensor


def center_cluster(
    features: Tensor, labels: Tensor, margin: float, *, every: int | None = None
) -> CenterCluster:
    """Pull samples to their identity's centre and push centres apart by a hinge.

    `pull` is the mean distance of a sample to its centre. `push` is the mean over identities of
    the mean over samples of other identities of max(0, margin - distance between centres): with
    identities of equal size, which P x K batches have, the mean over pairs of identities. A batch
    of one identity has no push. A sample that coincides with its centre has no gradient.

    Args:
        features: (N, D), before the BN neck.
        labels: (N,) int64, in any order.
        every: take the identities of rows 0, `every`, 2 `every`, ... instead of all of them, as
            the reference does: the same in a batch that is grouped, and not in another.

    Source: equation 10; layers/loss/local_center_loss.py, commit f57fd5c.
    """
    _, group, counts = torch.unique(labels, return_inverse=True, return_counts=True)
    sums = features.new_zeros(len(counts), features.shape[1]).index_add(0, group, features)
    centers = sums / counts[:, None]
    pull = _safe_norm(features - centers[group]).mean()
    if len(counts) == 1:
        return CenterCluster(pull, pull.new_zeros(()))
    distances = _pairwise(centers)
    others = counts.expand(len(counts), -1).clone().fill_diagonal_(0).to(features.dtype)
    hinge = (margin - distances).clamp(min=0.0)
    of_identity = (hinge * others).sum(1) / others.sum(1)
    push = of_identity.mean() if every is None else of_identity[group[::every]].mean()
    return CenterCluster(pull, push)


def separation(pattern_maps: Tensor, *, sum_pixels: bool = True) -> Tensor:
    """Overlap of the pattern maps of an image: products of pairs, a mean over images and pairs.

    Args:
        pattern_maps: (N, P, h, w) in [0, 1].
        sum_pixels: add the products of all pixels up, as the reference does, so that the loss
            grows with the image; else their mean.

    Source: equation 5; models/baseline.py, commit f57fd5c.
    """
    batch, patterns = pattern_maps.shape[:2]
    if patterns < 2:
        return pattern_maps.new_zeros(())
    flat = pattern_maps.flatten(2)
    overlap = torch.bmm(flat, flat.transpose(1, 2)).triu(diagonal=1)
    pairs = batch * patterns * (patterns - 1) / 2
    return overlap.sum() / (pairs if sum_pixels else pairs * flat.shape[2])


def mutual_mean_learning(own_logits: Tensor, mean_logits: Tensor, *, own_is_target: bool) -> Tensor:
    """KL divergence between a modality's own prediction and the other modality's mean classifier.

    With `own_is_target` (the reference) it is KL(own || mean) and the gradient flows through the
    target; without it, KL(mean || own), where the mean classifier teaches. The mean side is
    always detached.

    Args:
        own_logits: (N, C) of the classifier of each sample's own modality.
        mean_logits: (N, C) of the mean classifier of the other modality.

    Source: equation 8; models/baseline.py, commit f57fd5c.
    """
    own = functional.log_softmax(own_logits, dim=1)
    mean = functional.log_softmax(mean_logits.detach(), dim=1)
    target, other = (own, mean) if own_is_target else (mean, own)
    return (target.exp() * (target - other)).sum() / len(own)


def contrast(embedding: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """Supervised contrast within a batch, over both modalities: not part of MPANet.

    Cosine similarities divided by the temperature; for each row, the mean negative log-probability
    of the rows of its identity among all other rows. A network that starts from nothing learns from
    it at once, where a classifier over hundreds of identities needs long to begin.

    Args:
        embedding: (N, D), not normalised; every identity has two rows or more.
        labels: (N,) int64.

    Source: Khosla et al., NeurIPS 2020, equation 2 (`L_out`).
    """
    unit = functional.normalize(embedding, dim=1)
    itself = torch.eye(len(unit), dtype=torch.bool, device=unit.device)
    logits = (unit @ unit.T / temperature).masked_fill(itself, float("-inf"))
    log_probability = logits - logits.logsumexp(dim=1, keepdim=True)
    same = (labels[:, None] == labels[None, :]) & ~itself
    own = torch.where(same, log_probability, 0.0).sum(1) / same.sum(1)
    return -own.mean()


def _safe_norm(differences: Tensor) -> Tensor:
    """Row norms whose gradient at zero is zero instead of NaN."""
    squared = differences.square().sum(1)
    zero = squared == 0
    return torch.where(zero, 0.0, torch.where(zero, 1.0, squared).sqrt())


def _pairwise(centers: Tensor) -> Tensor:
    """Euclidean distances (M, M) by the quadratic expansion, floored at 1e-6."""
    squares = centers.square().sum(1)
    squared = squares[:, None] + squares[None, :] - 2 * centers @ centers.T
    return squared.clamp(min=1e-12).sqrt()
