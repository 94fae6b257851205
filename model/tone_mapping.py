"""Deep images (16-bit, 32-bit, float; one channel) to 8-bit grey: the policy `depth-v1`.

`Image.convert` clips or wraps such values, so that a thermal image turns white or into noise. The
policy here is part of the model's contract: an artifact names it, and a change of a single rule is
a new name. docs/preprocessing.md explains the rules to users.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.errors import UndecodableImageError

BIT_DEPTHS = (8, 10, 12, 14, 16)
FLAT_GREY = 128  # a radiometric image without contrast


def tone_map(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Map (H, W) integers or floats to 8-bit grey of the same shape by the policy `depth-v1`.

    In order: an 8-bit image that was widened (all values multiples of 257, or of 256) gets its own
    8 bits back. Values of 8 bits or less are kept, floats up to 1 are scaled by 255. Negative
    values, values beyond 16 bits, and a radiometric image (the 1st percentile above half of the
    99th: far from zero, little contrast) are stretched between these two percentiles. The rest is
    linear in the smallest of 10, 12, 14 and 16 bits that holds the 99.9th percentile, clipped.
    NaN and -inf are black, +inf is white.

    Raises:
        UndecodableImageError: not one value is finite.
    """
    if values.dtype.kind in "iu":
        widened = _undo_widening(values)
        if widened is not None:
            return widened
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        raise UndecodableImageError("the image holds no finite value")
    black, white = _range_of(finite)
    if white <= black:
        return np.where(np.isfinite(values), FLAT_GREY, 0).astype(np.uint8)
    scaled = (values.astype(np.float64) - black) * (255.0 / (white - black))
    bounded = np.nan_to_num(scaled, nan=0.0, posinf=255.0, neginf=0.0)
    return np.rint(np.clip(bounded, 0.0, 255.0)).astype(np.uint8)


def _undo_widening(values: NDArray[Any]) -> NDArray[np.uint8] | None:
    """The 8-bit image that was multiplied by 257 or 256, or None."""
    if values.min() < 0 or values.max() > 65535:
        return None
    for factor in (257, 256):
        if not np.any(values % factor):
            return np.asarray(values // factor, dtype=np.uint8)
    return None


def _range_of(finite: NDArray[Any]) -> tuple[float, float]:
    """The values that become black and white."""
    low, high, top = (
        float(value) for value in np.percentile(finite, (1.0, 99.0, 99.9), method="inverted_cdf")
    )
    if finite.min() >= 0:
        if finite.dtype.kind == "f" and top <= 1.0:
            return 0.0, 1.0
        if top <= 255:
            return 0.0, 255.0
        if low <= high / 2 and top <= 65535:
            return 0.0, float(next(2**b - 1 for b in BIT_DEPTHS if top <= 2**b - 1))
    return low, high
