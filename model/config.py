"""What a network is: the one frozen configuration that travels with its weights."""

from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

BackboneName = Literal["resnet18", "resnet34", "resnet50"]

CHANNELS: dict[BackboneName, int] = {"resnet18": 512, "resnet34": 512, "resnet50": 2048}
STRIDE = 16  # the last stage of the backbone keeps its resolution
SMALLEST_SIDE = 32  # instance normalisation needs more than one position to average over
LARGEST_SIDE = 4096


class Modality(StrEnum):
    """How a crop was taken. Always declared, never guessed; no input of the network."""

    VISIBLE = "visible"
    INFRARED = "infrared"


class MPANetConfig(BaseModel):
    """Everything that decides the shape of the network; `image_size` is (height, width) in pixels.

    Without patterns (0) the embedding is the global block alone; without `modality_alleviation` the
    backbone is a plain ResNet: what an ablation compares with. `projected_dim` is an artifact's:
    the length to which a projection inside its graph shortens the embedding.

    Raises:
        pydantic.ValidationError: an unknown key, an unknown backbone, a size out of range, a
            projection to more dimensions than the features have.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    backbone: BackboneName
    image_size: tuple[int, int]
    num_patterns: int = Field(ge=0, le=64)
    modality_alleviation: bool = True
    projected_dim: int | None = Field(ge=1, default=None)

    @field_validator("image_size")
    @classmethod
    def _sides_in_range(cls, image_size: tuple[int, int]) -> tuple[int, int]:
        if not all(SMALLEST_SIDE <= side <= LARGEST_SIDE for side in image_size):
            raise ValueError(
                f"expected (height, width) of {SMALLEST_SIDE} to {LARGEST_SIDE} pixels each,"
                f" got {image_size}"
            )
        return image_size

    @model_validator(mode="after")
    def _projection_shortens(self) -> "MPANetConfig":
        if self.projected_dim is not None and self.projected_dim > self.feature_dim:
            raise ValueError(
                f"expected projected_dim of at most {self.feature_dim}, the length of the features,"
                f" got {self.projected_dim}"
            )
        return self

    @property
    def channels(self) -> int:
        """Channels of the last feature map: 512 or 2,048."""
        return CHANNELS[self.backbone]

    @property
    def feature_dim(self) -> int:
        """Length of the features: one block of `channels` a pattern, and the global one last."""
        return (self.num_patterns + 1) * self.channels

    @property
    def embedding_dim(self) -> int:
        """Length of an embedding: that of the features, or of the projection that follows them."""
        return self.projected_dim or self.feature_dim

    @property
    def map_size(self) -> tuple[int, int]:
        """(height, width) of the last feature map and of the pattern maps."""
        height, width = self.image_size
        return -(-height // STRIDE), -(-width // STRIDE)


def first_complaint(error: ValidationError) -> str:
    """One line for a person: the field, what was expected, what came."""
    complaint = error.errors(include_url=False)[0]
    field = ".".join(str(part) for part in complaint["loc"])
    message = complaint["msg"].removeprefix("Value error, ")
    came = "" if complaint["type"] == "missing" else f" (got {complaint['input']!r:.80})"
    return f"{field}: {message}{came}"
