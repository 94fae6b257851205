"""The exceptions of `model`.

    ModelError
    ├── ArtifactError      a model directory cannot be read, or does not match its manifest
    ├── CheckpointError    a file of weights cannot be read, or does not fit the network
    ├── CalibrationError   a calibration cannot be made of the data, or not be read
    ├── RateNotSupportedError   a false-accept rate too low for the data of a calibration
    ├── ExportError        an artifact cannot be written, or the ONNX graph disagrees with torch
    └── ProviderError      an execution provider is not there, or refused the model
    ImageError
    ├── UnsupportedImageError   not an image of a format that we read
    ├── UndecodableImageError   a known format, but empty, truncated, too small or broken
    └── ImageTooLargeError      more bytes or pixels than the limit

Every message says what was expected, what came, and which path or key.
"""

from typing import Literal


class ModelError(Exception):
    """A model, its weights or its runtime cannot be used."""


class ArtifactError(ModelError):
    """A model directory cannot be read, or does not match its manifest."""


class CheckpointError(ModelError):
    """A file of weights cannot be read, or does not fit the network."""


class ExportError(ModelError):
    """An artifact cannot be written, or the exported graph disagrees with torch."""


class CalibrationError(ModelError):
    """A calibration cannot be made of the data, or not be read from a manifest."""


class RateNotSupportedError(ModelError):
    """A false-accept rate is lower than the impostor pairs of a calibration can support.

    `lowest_rate` is what they do; `pairs_needed` impostor pairs it would take at least, None where
    no number would do.
    """

    def __init__(
        self, pair: str, rate: float, *, lowest_rate: float, pairs_needed: int | None
    ) -> None:
        needed = "" if pairs_needed is None else f"; that takes {pairs_needed:,} impostor pairs"
        super().__init__(
            f"{pair}: expected a false-accept rate from {lowest_rate:g} on, came {rate:g}{needed}"
        )
        self.pair = pair
        self.rate = rate
        self.lowest_rate = lowest_rate
        self.pairs_needed = pairs_needed


class ProviderError(ModelError):
    """An execution provider is not there, or refused the model."""


class ImageError(Exception):
    """Bytes that cannot become an image."""


class UnsupportedImageError(ImageError):
    """Not an image of a format that we read."""


class UndecodableImageError(ImageError):
    """An image of a known format that is empty, truncated, too small or broken."""


class ImageTooLargeError(ImageError):
    """More bytes or pixels than the limit: `came` of `what`, `limit` allowed."""

    def __init__(self, what: Literal["bytes", "pixels"], *, limit: int, came: int) -> None:
        super().__init__(f"the image has {came:,} {what}; at most {limit:,} are read")
        self.what = what
        self.limit = limit
        self.came = came
