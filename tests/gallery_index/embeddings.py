"""Vectors like a trained network's and like nothing at all, unit, half precision."""

import numpy as np
from numpy.typing import NDArray


def structured(count: int, dim: int, seed: int = 0, noise: float = 0.15) -> NDArray[np.float16]:
    """Few strong directions, many weak ones, and a little of everything: (count, dim)."""
    directions = np.random.default_rng(99).standard_normal((80, dim), dtype=np.float32)
    directions /= np.sqrt(dim)
    rng = np.random.default_rng(seed)
    strength = 1 / np.sqrt(np.arange(1, 81, dtype=np.float32))
    strength /= np.linalg.norm(strength)
    signal = (rng.standard_normal((count, 80), dtype=np.float32) * strength) @ directions
    signal += directions[0] * 0.5
    rest = rng.standard_normal((count, dim), dtype=np.float32) / np.float32(np.sqrt(dim))
    return _unit(signal + np.float32(noise) * rest)


def flat(count: int, dim: int, seed: int = 0) -> NDArray[np.float16]:
    """Every direction alike: (count, dim)."""
    return _unit(np.random.default_rng(seed).standard_normal((count, dim), dtype=np.float32))


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float16]:
    unit: NDArray[np.float16] = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(
        np.float16
    )
    return unit
