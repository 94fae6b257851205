"""The losses, and one whole training step, against the reference implementation."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from model.config import MPANetConfig
from model.network.mpanet import Features, MPANet
from tests.golden.reference_weights import generator, tensor
from training.heads import IdentityHeads
from training.losses import center_cluster, contrast, mutual_mean_learning, separation
from training.objective import mean_rate, objective
from training.recipe import LossConfig

GOLDEN = Path(__file__).parents[1] / "golden"
REFERENCE_PARTS = {
    "separation": "part_p_reg",
    "center_cluster": "part_cc",
    "identity": "part_ce",
    "identity_visible": "part_ce_v",
    "identity_infrared": "part_ce_i",
    "mutual": "part_KL",
}


def test_center_cluster_agrees_with_the_reference_at_three_margins() -> None:
    golden = np.load(GOLDEN / "losses.npz")
    features = torch.from_numpy(golden["features"])
    labels = torch.from_numpy(golden["labels"])
    for margin, expected in zip(golden["margins"], golden["center_cluster"], strict=True):
        pull, push = center_cluster(features, labels, float(margin))
        assert float(pull + push) == pytest.approx(float(expected), rel=1e-5)


def test_center_cluster_does_not_depend_on_the_order_of_rows() -> None:
    golden = np.load(GOLDEN / "losses.npz")
    features = torch.from_numpy(golden["features"])
    labels = torch.from_numpy(golden["labels"])
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(1))
    sorted_loss = sum(center_cluster(features, labels, 12.0))
    shuffled_loss = sum(center_cluster(features[order], labels[order], 12.0))
    assert float(shuffled_loss) == pytest.approx(float(sorted_loss), rel=1e-6)


def test_center_cluster_of_hand_computed_points() -> None:
    features = torch.tensor([[0.0, 0.0], [2.0, 0.0], [1.0, 3.0], [1.0, 5.0]])
    pull, push = center_cluster(features, torch.tensor([0, 0, 1, 1]), margin=6.0)
    assert float(pull) == pytest.approx(1.0)  # every point is one from its centre
    assert float(push) == pytest.approx(2.0)  # the centres are four apart


def test_a_sample_on_its_centre_has_a_finite_gradient() -> None:
    features = torch.zeros(4, 3, requires_grad=True)
    pull, push = center_cluster(features, torch.tensor([0, 0, 1, 1]), margin=0.7)
    torch.autograd.backward(pull + push)
    assert features.grad is not None
    assert torch.isfinite(features.grad).all()


def test_separation_agrees_with_the_reference() -> None:
    golden = np.load(GOLDEN / "losses.npz")
    value = separation(torch.from_numpy(golden["pattern_maps"]))
    assert float(value) == pytest.approx(float(golden["separation"]), rel=1e-5)


def test_separation_of_one_pattern_is_zero() -> None:
    assert float(separation(torch.rand(2, 1, 4, 4))) == 0.0


def test_mutual_term_agrees_with_torch_and_its_gradient_flows_through_the_target() -> None:
    own = torch.tensor([[2.0, 0.5, -1.0], [0.0, 1.0, 3.0]], requires_grad=True)
    mean = torch.tensor([[1.0, 1.0, 0.0], [0.3, 2.0, 0.1]], requires_grad=True)
    value = mutual_mean_learning(own, mean, own_is_target=True)
    expected = functional.kl_div(
        functional.log_softmax(mean, 1), functional.softmax(own, 1), reduction="batchmean"
    )
    assert float(value.detach()) == pytest.approx(float(expected.detach()), rel=1e-6)
    torch.autograd.backward(value)
    assert own.grad is not None
    assert own.grad.abs().sum() > 0
    assert mean.grad is None


def test_contrast_of_hand_computed_rows() -> None:
    """Two identities on two axes: each row has one partner at cosine 1 and two others at 0."""
    embedding = torch.tensor([[2.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 5.0]])
    value = contrast(embedding, torch.tensor([0, 1, 0, 1]), temperature=0.5)
    assert float(value) == pytest.approx(math.log(1 + 2 * math.exp(-2)), rel=1e-6)


def test_contrast_has_a_finite_gradient_although_a_row_is_left_out_of_its_own_sum() -> None:
    embedding = torch.randn(6, 4, requires_grad=True)
    torch.autograd.backward(contrast(embedding, torch.tensor([0, 0, 1, 1, 2, 2]), 0.1))
    assert embedding.grad is not None
    assert torch.isfinite(embedding.grad).all()


@pytest.mark.parametrize(("epoch", "expected"), [(1, 0.2), (99, 0.2), (139, 0.2 * 100 / 140)])
def test_mean_rate_falls_after_epoch_99(epoch: int, expected: float) -> None:
    assert mean_rate(LossConfig(), epoch) == pytest.approx(expected)


def test_modality_cross_entropy_is_added_twice_only_when_asked() -> None:
    totals = [_step(LossConfig(modality_identity_twice=twice))[0] for twice in (True, False)]
    parts = _step(LossConfig())[1]
    once = 0.5 * (parts["identity_visible"] + parts["identity_infrared"])
    assert totals[0] - totals[1] == pytest.approx(once, rel=1e-5)


def test_mean_classifiers_move_before_the_mutual_term_or_after_it() -> None:
    """The mutual term of one step sees moved means, or those that the step began with."""
    features, labels = torch.randn(4, 3), torch.tensor([0, 0, 1, 1])
    infrared = torch.tensor([False, True, False, True])
    network = Features(features, features, torch.zeros(4, 0, 1, 1))
    found: dict[bool, float] = {}
    expected: dict[bool, float] = {}
    for first in (True, False):
        torch.manual_seed(1)
        heads = IdentityHeads(3, 2)
        heads.mean_visible += torch.randn(2, 3)
        own = [heads.visible_classifier.weight, heads.infrared_classifier.weight]
        means = [heads.mean_visible.clone(), heads.mean_infrared.clone()]
        moved = [0.8 * mean + 0.2 * weight for mean, weight in zip(means, own, strict=True)]
        config = LossConfig(mean_moves_first=first, center_cluster=0, separation=0)
        _, parts = objective(
            network, labels, infrared, heads, config, mean_rate=0.2, images_per_person=2
        )
        found[first] = float(parts["mutual"])
        visible, thermal = moved if first else means
        other = torch.stack(
            [
                row @ (visible if dark else thermal).T
                for row, dark in zip(features, infrared, strict=True)
            ]
        )
        mine = torch.stack(
            [
                row @ (own[1] if dark else own[0]).T
                for row, dark in zip(features, infrared, strict=True)
            ]
        )
        log_mine, log_other = functional.log_softmax(mine, 1), functional.log_softmax(other, 1)
        expected[first] = float(
            (log_mine.exp() * (log_mine - log_other)).sum().detach() / len(features)
        )
        for mean, value in zip((heads.mean_visible, heads.mean_infrared), moved, strict=True):
            torch.testing.assert_close(mean, value.detach())  # moved by the end of the step
    assert found == pytest.approx(expected, rel=1e-5)
    assert found[True] != pytest.approx(found[False], rel=1e-3)


def test_separation_is_summed_over_pixels_or_their_mean() -> None:
    maps = torch.full((2, 3, 4, 5), 0.5)
    assert float(separation(maps)) == pytest.approx(0.25 * 4 * 5)
    assert float(separation(maps, sum_pixels=False)) == pytest.approx(0.25)
    sums, means = (
        _step(LossConfig(separation_sums_pixels=sums))[1]["separation"] for sums in (True, False)
    )
    assert sums == pytest.approx(4 * means, rel=1e-5)  # maps of 2 x 2


def test_every_kth_row_stands_for_an_identity_only_in_a_grouped_batch() -> None:
    """Rows 0 and 2 of two identities: both in a grouped batch, twice the first in an ungrouped."""
    features = torch.tensor([[0.0], [0.0], [3.0], [3.0], [9.0], [9.0]])
    labels = torch.tensor([0, 0, 1, 1, 2, 2])
    ungrouped = torch.tensor([0, 2, 1, 3, 4, 5])
    # Hinges at margin 10: centres 0-1 seven, 0-2 one, 1-2 four; of each identity (4, 5.5, 2.5).
    whole = center_cluster(features, labels, 10.0).push
    grouped = center_cluster(features, labels, 10.0, every=2).push
    kth = center_cluster(features[ungrouped], labels[ungrouped], 10.0, every=2).push
    assert float(whole) == pytest.approx(4.0)
    assert float(grouped) == pytest.approx(4.0)
    assert float(kth) == pytest.approx((4.0 + 4.0 + 2.5) / 3)  # rows 0, 2 and 4: ids 0, 0 and 2


def test_the_recipe_chooses_how_identities_are_found() -> None:
    order = [0, 2, 1, 3, 4, 5, 6, 7]
    values = {
        kth: _step(LossConfig(center_every_kth_row=kth, center_margin=20.0), order)[1][
            "center_cluster"
        ]
        for kth in (True, False)
    }
    assert values[True] != pytest.approx(values[False], rel=1e-4)


@pytest.mark.parametrize("own_is_target", [True, False])
def test_the_recipe_chooses_the_target_of_the_mutual_term(own_is_target: bool) -> None:
    own, mean = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    p, q = (torch.softmax(logits, 1) for logits in (own, mean))
    target, other = (p, q) if own_is_target else (q, p)
    expected = float((target * (target / other).log()).sum())
    found = mutual_mean_learning(own, mean, own_is_target=own_is_target)
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_training_step_agrees_with_the_reference() -> None:
    """Total, parts, gradient norms and mean classifiers of epoch 1.

    The step is ill-conditioned: in float64 its gradient norms lie 5e-3 from the golden ones, and
    the order of additions in one mean of the network alone moves them by 1.5e-4.
    """
    golden = np.load(GOLDEN / "training_step.npz")
    network, heads = _reference_network()
    images = generator("public", "train-input").standard_normal((16, 3, 96, 48))
    labels = torch.from_numpy(golden["labels"])
    infrared = torch.from_numpy(golden["camera_ids"]) == 3
    config = LossConfig()
    network.train()
    total, parts = objective(
        network(torch.from_numpy(images.astype(np.float32))),
        labels,
        infrared,
        heads,
        config,
        mean_rate=mean_rate(config, epoch=1),
        images_per_person=4,
    )
    torch.autograd.backward(total)

    assert float(total.detach()) == pytest.approx(float(golden["loss"]), rel=1e-4)
    for ours, theirs in REFERENCE_PARTS.items():
        assert float(parts[ours]) == pytest.approx(float(golden[theirs]), rel=1e-4), ours
    norms = {
        name: float(parameter.grad.norm())
        for module in (network, heads)
        for name, parameter in module.named_parameters()
        if parameter.grad is not None
    }
    expected = dict(zip(golden["grad_norm_names"], golden["grad_norms"], strict=True))
    assert norms.keys() == expected.keys()
    for name, norm in expected.items():
        assert norms[name] == pytest.approx(norm, rel=1e-4, abs=1e-5), name
    means = {"ema_visible": heads.mean_visible, "ema_infrared": heads.mean_infrared}
    for key, mean in means.items():
        np.testing.assert_allclose(mean[:, ::97].numpy(), golden[key], rtol=1e-4, atol=1e-7)


def _reference_network() -> tuple[MPANet, IdentityHeads]:
    """The network and heads with the golden weights, by the published names.

    The reference builds a mean classifier on the storage of its original, so loading a checkpoint
    on the CPU leaves both with the values of the mean: the golden step was taken from there.
    """
    network = MPANet(MPANetConfig(backbone="resnet50", image_size=(96, 48), num_patterns=6))
    heads = IdentityHeads(network.config.feature_dim, 10)
    with torch.no_grad():
        for name, value in network.state_dict().items():
            value.copy_(torch.from_numpy(tensor("public", name, tuple(value.shape))))
        for name, published in {
            "classifier.weight": "classifier.weight",
            "visible_classifier.weight": "visible_classifier_.weight",
            "infrared_classifier.weight": "infrared_classifier_.weight",
            "mean_visible": "visible_classifier_.weight",
            "mean_infrared": "infrared_classifier_.weight",
        }.items():
            value = heads.state_dict()[name]
            value.copy_(torch.from_numpy(tensor("public", published, tuple(value.shape))))
    return network, heads


def _step(config: LossConfig, order: Sequence[int] = range(8)) -> tuple[float, dict[str, float]]:
    """One objective of random features; the same for every config, but for the order of rows."""
    torch.manual_seed(0)
    network = MPANet(MPANetConfig(backbone="resnet18", image_size=(32, 32), num_patterns=2))
    heads = IdentityHeads(network.config.feature_dim, 4)
    heads.mean_visible += 0.5 * torch.randn(heads.mean_visible.shape)
    images = torch.randn(8, 3, 32, 32)[list(order)]
    labels = torch.tensor([0, 0, 1, 1, 2, 2, 3, 3])[list(order)]
    infrared = torch.tensor([False, True] * 4)[list(order)]
    features = network(images)
    total, parts = objective(
        features, labels, infrared, heads, config, mean_rate=0.2, images_per_person=2
    )
    return float(total.detach()), {name: float(part) for name, part in parts.items()}
