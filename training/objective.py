"""MPANet's total loss: which parts, with which weights, in which order. No optimiser, no data."""

from torch import Tensor
from torch.nn import functional

from model.network.mpanet import Features
from training.heads import IdentityHeads
from training.losses import center_cluster, contrast, mutual_mean_learning, separation
from training.recipe import LossConfig


def objective(
    features: Features,
    labels: Tensor,
    infrared: Tensor,
    heads: IdentityHeads,
    config: LossConfig,
    *,
    mean_rate: float,
    images_per_person: int,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The weighted sum of all losses of one training step, and its unweighted parts.

    Moves the mean classifiers by `mean_rate`, before the mutual term or after it as the recipe
    says. Computed in float32 whatever the network ran in.

    Args:
        labels: (N,) int64, 0 .. identities - 1.
        infrared: (N,) bool.
        images_per_person: K, how many rows of one identity stand together.

    Returns:
        The total (scalar) and `identity`, `contrast`, `center_cluster`, `separation`,
        `identity_visible`, `identity_infrared`, `mutual`: detached scalars, those that the
        recipe switches on.
    """
    embedding = features.embedding.float()
    identity = functional.cross_entropy(
        heads.classifier(embedding), labels, label_smoothing=config.label_smoothing
    )
    parts = {"identity": identity}
    total = config.identity * identity
    if config.contrast > 0:
        parts["contrast"] = contrast(embedding, labels, config.contrast_temperature)
        total = total + config.contrast * parts["contrast"]
    if config.center_cluster > 0:
        cluster = center_cluster(
            features.pooled.float(),
            labels,
            config.center_margin,
            every=images_per_person if config.center_every_kth_row else None,
        )
        parts["center_cluster"] = cluster.pull + cluster.push
        total = total + config.center_cluster * parts["center_cluster"]
    if config.separation > 0:
        parts["separation"] = separation(
            features.pattern_maps.float(), sum_pixels=config.separation_sums_pixels
        )
        total = total + config.separation * parts["separation"]
    if config.mutual_learning:
        total = total + _modality_terms(
            embedding, labels, infrared, heads, config, mean_rate, parts
        )
    return total, {name: part.detach() for name, part in parts.items()}


def mean_rate(config: LossConfig, epoch: int) -> float:
    """How far the mean classifiers move in a step of `epoch` (the first is 1).

    Source: engine/__init__.py, commit f57fd5c: rate x min(100 / (epoch + 1), 1).
    """
    if not config.mean_rate_decays:
        return config.mean_rate
    return config.mean_rate * min(100 / (epoch + 1), 1.0)


def _modality_terms(
    embedding: Tensor,
    labels: Tensor,
    infrared: Tensor,
    heads: IdentityHeads,
    config: LossConfig,
    rate: float,
    parts: dict[str, Tensor],
) -> Tensor:
    """The modality-specific cross-entropies and the mutual term; adds them to `parts`."""
    if config.mean_moves_first:
        heads.update_means(rate)
    logits = heads.modality_logits(embedding, labels, infrared)
    split = logits.visible_rows
    visible = functional.cross_entropy(logits.own[:split], logits.labels[:split])
    thermal = functional.cross_entropy(logits.own[split:], logits.labels[split:])
    mutual = mutual_mean_learning(
        logits.own, logits.other_mean, own_is_target=config.mutual_own_is_target
    )
    if not config.mean_moves_first:
        heads.update_means(rate)
    parts |= {"identity_visible": visible, "identity_infrared": thermal, "mutual": mutual}
    times = 2 if config.modality_identity_twice else 1
    return times * config.modality_identity * (visible + thermal) + config.mutual * mutual
