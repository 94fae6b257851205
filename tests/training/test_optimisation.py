"""Learning rate schedules at hand-computed points."""

import pytest
from torch import nn

from training.optimisation import build_optimizer, rate_at
from training.recipe import OptimizerConfig, ScheduleConfig


@pytest.mark.parametrize(
    ("epoch", "factor"), [(0, 1.0), (79, 1.0), (80, 0.1), (119, 0.1), (120, 0.01)]
)
def test_steps_divide_by_ten_after_each_milestone(epoch: int, factor: float) -> None:
    config = ScheduleConfig(epochs=140, milestones=(80, 120))
    assert rate_at(config, epoch * 50, 50) == pytest.approx(factor)
    assert rate_at(config, epoch * 50 + 49, 50) == pytest.approx(factor)


def test_cosine_falls_from_one_to_zero() -> None:
    config = ScheduleConfig(epochs=10, decay="cosine")
    assert rate_at(config, 0, 10) == pytest.approx(1.0)
    assert rate_at(config, 50, 10) == pytest.approx(0.5)
    assert rate_at(config, 100, 10) == pytest.approx(0.0)


def test_warm_up_rises_linearly_to_the_whole_rate() -> None:
    config = ScheduleConfig(epochs=10, decay="cosine", warmup_epochs=2)
    assert rate_at(config, 0, 10) == pytest.approx(0.05)
    assert rate_at(config, 9, 10) == pytest.approx(0.5)
    assert rate_at(config, 19, 10) == pytest.approx(1.0)
    assert rate_at(config, 20, 10) == pytest.approx(1.0)


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_heads_learn_at_their_share_of_the_rate(name: str) -> None:
    config = OptimizerConfig.model_validate(
        {"name": name, "learning_rate": 0.02, "head_rate": 0.1, "weight_decay": 0.03}
    )
    network, heads = nn.Linear(2, 3), nn.Linear(3, 4, bias=False)
    network.bias.requires_grad_(False)
    optimizer = build_optimizer(config, network, heads)
    of_network, of_heads = optimizer.param_groups
    assert (of_network["lr"], of_heads["lr"]) == (0.02, pytest.approx(0.002))
    assert [id(parameter) for parameter in of_network["params"]] == [id(network.weight)]
    assert [id(parameter) for parameter in of_heads["params"]] == [id(heads.weight)]
    assert {group["weight_decay"] for group in optimizer.param_groups} == {0.03}
