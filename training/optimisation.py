"""Optimisers and learning rate schedules, by the names that recipes use."""

import math

from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from training.recipe import OptimizerConfig, ScheduleConfig


def rate_at(config: ScheduleConfig, step: int, steps_per_epoch: int) -> float:
    """The factor of the learning rate at a step (from 0), as the recipe's schedule says."""
    epoch = step / steps_per_epoch
    if epoch < config.warmup_epochs:
        return (step + 1) / (config.warmup_epochs * steps_per_epoch)
    if config.decay == "steps":
        return 0.1 ** sum(int(epoch) >= milestone for milestone in config.milestones)
    left = config.epochs - config.warmup_epochs
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (epoch - config.warmup_epochs) / left)))


def build_optimizer(config: OptimizerConfig, network: nn.Module, heads: nn.Module) -> Optimizer:
    """The recipe's optimiser over the trainable parameters of both, the heads at their own rate."""
    rate, decay = config.learning_rate, config.weight_decay
    groups = [
        {"params": _trainable(network), "lr": rate},
        {"params": _trainable(heads), "lr": rate * config.head_rate},
    ]
    if config.name == "sgd":
        return SGD(groups, weight_decay=decay, momentum=config.momentum)
    if config.name == "adamw":
        return AdamW(groups, weight_decay=decay)
    return Adam(groups, weight_decay=decay)


def _trainable(module: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in module.parameters() if parameter.requires_grad]
