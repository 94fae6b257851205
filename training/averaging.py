"""RunningAverage: an exponential moving average of weights, which validates and serves.

Source: Tarvainen and Valpola, Mean Teacher, NeurIPS 2017; as weight averaging for inference.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


class RunningAverage:
    """Weights and statistics of a network, averaged over steps: average = d average + (1 - d) own.

    The first update copies, so that the average never holds what was there before training.
    Counters are copied at every update.

    Args:
        decay: d, in (0, 1).
    """

    def __init__(self, decay: float) -> None:
        self._decay = decay
        self._values: dict[str, Tensor] = {}

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Move the average towards the network as it is now."""
        own = network.state_dict()
        if not self._values:
            self._values = {name: tensor.clone() for name, tensor in own.items()}
            return
        floating = [name for name, tensor in own.items() if tensor.is_floating_point()]
        torch._foreach_lerp_(
            [self._values[name] for name in floating],
            [own[name] for name in floating],
            1 - self._decay,
        )
        for name in own.keys() - set(floating):
            self._values[name].copy_(own[name])

    @contextmanager
    def in_place_of(self, network: nn.Module) -> Iterator[None]:
        """Let the network hold the average inside the block, and its own weights again after it."""
        if not self._values:  # no step yet
            yield
            return
        own = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        network.load_state_dict(self._values)
        try:
            yield
        finally:
            network.load_state_dict(own)

    def state(self) -> dict[str, Tensor]:
        """What `restore` needs; empty before the first update."""
        return dict(self._values)

    def restore(self, state: Mapping[str, Any], network: nn.Module) -> None:
        """Go on from a saved state, on the device of `network`."""
        own = network.state_dict()
        self._values = {name: tensor.to(own[name].device) for name, tensor in state.items()}
