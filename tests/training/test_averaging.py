"""The running average of weights against its formula."""

import numpy as np
import torch
from torch import nn

from training.averaging import RunningAverage


def _set(network: nn.BatchNorm1d, weight: float, mean: float, steps: int) -> None:
    nn.init.constant_(network.weight, weight)
    assert network.running_mean is not None
    assert network.num_batches_tracked is not None
    network.running_mean.fill_(mean)
    network.num_batches_tracked.fill_(steps)


def test_the_average_is_a_decaying_sum_that_starts_at_the_first_step() -> None:
    network, average = nn.BatchNorm1d(2), RunningAverage(0.75)
    for weight, mean, steps in ((1.0, 8.0, 1), (5.0, 0.0, 2), (9.0, 4.0, 3)):
        _set(network, weight, mean, steps)
        average.update(network)
    state = average.state()
    # 0.75 * (0.75 * 1 + 0.25 * 5) + 0.25 * 9, and the same of the running mean
    np.testing.assert_allclose(state["weight"], [3.75, 3.75])
    np.testing.assert_allclose(state["running_mean"], [5.5, 5.5])
    assert int(state["num_batches_tracked"]) == 3


def test_the_network_holds_the_average_inside_the_block_only() -> None:
    network, average = nn.BatchNorm1d(1), RunningAverage(0.5)
    with average.in_place_of(network):
        assert network.weight.item() == 1.0  # no step yet: its own
    for weight in (2.0, 4.0):
        _set(network, weight, 0.0, 0)
        average.update(network)
    with average.in_place_of(network):
        assert network.weight.item() == 3.0
    assert network.weight.item() == 4.0


def test_a_restored_average_goes_on_as_if_it_had_not_stopped() -> None:
    network, average, restored = nn.BatchNorm1d(1), RunningAverage(0.5), RunningAverage(0.5)
    _set(network, 2.0, 0.0, 0)
    average.update(network)
    restored.restore({name: value.clone() for name, value in average.state().items()}, network)
    _set(network, 6.0, 0.0, 0)
    for each in (average, restored):
        each.update(network)
        assert float(each.state()["weight"]) == 4.0


def test_the_average_has_tensors_of_its_own() -> None:
    network, average = nn.BatchNorm1d(1), RunningAverage(0.5)
    average.update(network)
    with torch.no_grad():
        network.weight.fill_(7.0)
    assert float(average.state()["weight"]) == 1.0
