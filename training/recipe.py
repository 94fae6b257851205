"""TrainingConfig: what a run does, read from a TOML recipe. The one place of training's defaults.

Every deviation of the reference implementation from its paper is a named option here. Unknown keys
are errors. Knows no torch.
"""

import tomllib
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails

from model.config import MPANetConfig
from model.preprocessing import PreprocessingConfig
from training.errors import RecipeError


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class BatchConfig(_Section):
    """P identities and K images of each, half of them infrared; on each device.

    `sampling` is `balanced` (no identity is dropped) or `reference` (as the authors draw).
    """

    persons: int = Field(ge=2)
    images_per_person: int = Field(ge=2, multiple_of=2)
    sampling: Literal["balanced", "reference"] = "balanced"


class OptimizerConfig(_Section):
    """`gradient_clip` is a bound on the norm; 0 is none.

    `head_rate` is the classifiers' share of the learning rate. Adam moves every weight by about the
    rate, so a logit over D inputs moves by about rate x D a step: too much for a network that
    starts from nothing.
    """

    name: Literal["adam", "adamw", "sgd"] = "adam"
    learning_rate: float = Field(gt=0)
    weight_decay: float = Field(ge=0, default=5e-4)
    head_rate: float = Field(gt=0, le=1, default=1.0)
    momentum: float = Field(ge=0, lt=1, default=0.9)
    gradient_clip: float = Field(ge=0, default=0.0)


class ScheduleConfig(_Section):
    """Steps divide the rate by ten after each milestone (epochs); cosine falls to zero.

    The first `half_size_epochs` train on images of half the height and width, at a quarter of
    the cost. `average_decay` is the share that the running average of the weights keeps at each
    step; the average is what validates and serves. 0 is none.
    """

    epochs: int = Field(ge=1)
    decay: Literal["steps", "cosine"] = "steps"
    milestones: tuple[Annotated[int, Field(ge=1)], ...] = ()
    warmup_epochs: float = Field(ge=0, default=0.0)
    half_size_epochs: int = Field(ge=0, default=0)
    average_decay: float = Field(ge=0, lt=1, default=0.0)


class LossConfig(_Section):
    """Weights of the parts, and the reference's deviations from its paper as options.

    A weight of 0 switches a part off. `contrast` is not MPANet's: it gives a network that starts
    from nothing something to learn at once. The deviations, each true where the reference's:

    - `modality_identity_twice`: the modality-specific cross-entropies are added a second time.
    - `mutual_own_is_target`: in the mutual term the modality's own prediction is the target and
      carries the gradient.
    - `mean_rate_decays`: the mean classifiers' rate falls from epoch 100 on.
    - `mean_moves_first`: they move inside the step, before the mutual term; else after it.
    - `separation_sums_pixels`: overlap is summed over pixels, and grows with the image; else the
      mean over pixels.
    - `center_every_kth_row`: one row in K stands for an identity, right only where the batch is
      grouped; else identities are found by their labels.
    """

    label_smoothing: float = Field(ge=0, lt=1, default=0.0)
    identity: float = Field(ge=0, default=1.0)
    contrast: float = Field(ge=0, default=0.0)
    contrast_temperature: float = Field(gt=0, default=0.1)
    center_cluster: float = Field(ge=0, default=1.0)
    center_margin: float = Field(ge=0, default=0.7)
    center_every_kth_row: bool = True
    separation: float = Field(ge=0, default=0.5)
    separation_sums_pixels: bool = True
    mutual_learning: bool = True
    modality_identity: float = Field(ge=0, default=0.5)
    modality_identity_twice: bool = True
    mutual: float = Field(ge=0, default=2.5)
    mutual_own_is_target: bool = True
    mean_rate: float = Field(gt=0, le=1, default=0.2)
    mean_rate_decays: bool = True
    mean_moves_first: bool = True


class AugmentationConfig(_Section):
    """Probabilities are per image; those named `visible_` touch visible images only.

    `erase_area` is the smallest and the largest share of an image that an erasure covers.
    """

    flip: float = Field(ge=0, le=1, default=0.5)
    pad: int = Field(ge=0, default=10)
    erase: float = Field(ge=0, le=1, default=0.5)
    erase_area: tuple[float, float] = (0.02, 0.33)
    visible_grey: float = Field(ge=0, le=1, default=0.0)
    visible_channel: float = Field(ge=0, le=1, default=0.0)
    visible_mix: float = Field(ge=0, le=1, default=0.0)
    contrast: float = Field(ge=0, lt=1, default=0.0)
    brightness: float = Field(ge=0, lt=1, default=0.0)
    gamma: float = Field(ge=0, lt=1, default=0.0)
    noise: float = Field(ge=0, le=1, default=0.0)

    @field_validator("erase_area")
    @classmethod
    def _areas_in_order(cls, erase_area: tuple[float, float]) -> tuple[float, float]:
        smallest, largest = erase_area
        if not 0 < smallest <= largest <= 1:
            raise ValueError(
                "expected the smallest and the largest share of an image, in (0, 1],"
                f" got {erase_area}"
            )
        return erase_area


class TrainingConfig(_Section):
    """A whole recipe: the network and how it is taught.

    `initialise` is `imagenet` (torchvision's weights of the backbone), `none`, or a file of
    weights: torchvision's format for the backbone, a checkpoint of ours or a published one for all
    of the network. `compile` hands the network to torch.compile. `colour_blind` writes weights that
    answer a coloured image as its grey one: for recipes whose augmentation shows the network
    decoloured images.
    """

    network: MPANetConfig
    preprocessing: PreprocessingConfig = PreprocessingConfig()
    batch: BatchConfig
    optimizer: OptimizerConfig
    schedule: ScheduleConfig
    losses: LossConfig = LossConfig()
    augmentation: AugmentationConfig = AugmentationConfig()
    initialise: str = "none"
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    channels_last: bool = True
    compile: bool = False
    colour_blind: bool = False
    validate_every: int = Field(ge=1, default=1)
    train_on_validation: bool = False
    drop_incomplete_identities: bool = False

    @model_validator(mode="after")
    def _projection_is_an_artifacts(self) -> "TrainingConfig":
        if self.network.projected_dim is not None:
            raise ValueError(
                "network.projected_dim belongs to an artifact: mpanet export --project fits it"
            )
        return self

    @model_validator(mode="after")
    def _milestones_need_steps(self) -> "TrainingConfig":
        if self.schedule.milestones and self.schedule.decay != "steps":
            raise ValueError("schedule.milestones belong to decay = 'steps'")
        return self


def load_recipe(name_or_path: str) -> TrainingConfig:
    """Read a recipe by the name of a bundled one or by the path of a TOML file.

    A recipe may start with `extends = "NAME"`: what it does not say, the bundled recipe NAME says.

    Raises:
        RecipeError: no such recipe, not TOML, an unknown key or an ill-typed value.
    """
    tables, source = _tables(name_or_path)
    try:
        # Strict: a quoted number is no number, and true is not 1.
        return TrainingConfig.model_validate(_with_tuples(tables), strict=True)
    except ValidationError as error:
        faults = "; ".join(_fault(details) for details in error.errors(include_url=False))
        raise RecipeError(f"{source}: {faults}") from error


def bundled_recipes() -> list[str]:
    """Names of the recipes that come with the package."""
    folder = resources.files("training") / "recipes"
    return sorted(entry.name[:-5] for entry in folder.iterdir() if entry.name.endswith(".toml"))


def recipe_name(name_or_path: str) -> str:
    """The name by which a run and its artifact call the recipe."""
    return Path(name_or_path).stem


def _tables(name_or_path: str) -> tuple[dict[str, Any], str]:
    """The recipe's tables, laid over those of the recipe that it extends; how to call it."""
    text, source = _read(name_or_path)
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{source}: not TOML: {error}") from error
    base = tables.pop("extends", None)
    if base is None:
        return tables, source
    if base not in bundled_recipes() or base == name_or_path:
        raise RecipeError(
            f"{source}: extends: expected one of {', '.join(bundled_recipes())}, got {base!r}"
        )
    return _laid_over(_tables(base)[0], tables), source


def _laid_over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Both tables as one; where both name a value, the upper one's holds."""
    return below | {
        key: _laid_over(below[key], value)
        if isinstance(value, dict) and isinstance(below.get(key), dict)
        else value
        for key, value in above.items()
    }


def _with_tuples(value: Any) -> Any:
    """TOML's arrays as the tuples that a config holds."""
    if isinstance(value, dict):
        return {key: _with_tuples(item) for key, item in value.items()}
    return tuple(_with_tuples(item) for item in value) if isinstance(value, list) else value


def _fault(details: ErrorDetails) -> str:
    """The key, what was expected and, where that says something, what came."""
    key = ".".join(str(part) for part in details["loc"]) or "recipe"
    if details["type"] == "extra_forbidden":
        return f"{key}: unknown key"
    if details["type"] in ("value_error", "missing"):
        return f"{key}: {details['msg'].removeprefix('Value error, ')}"
    came = "a table" if isinstance(details["input"], dict) else f"{details['input']!r:.80}"
    return f"{key}: {details['msg']}, got {came}"


def _read(name_or_path: str) -> tuple[str, str]:
    if name_or_path in bundled_recipes():
        bundled = resources.files("training") / "recipes" / f"{name_or_path}.toml"
        return bundled.read_text(encoding="utf-8"), f"recipe {name_or_path}"
    path = Path(name_or_path)
    if path.suffix != ".toml":
        raise RecipeError(
            f"no recipe {name_or_path!r}: expected a .toml file or one of"
            f" {', '.join(bundled_recipes())}"
        )
    try:
        return path.read_text(encoding="utf-8-sig"), str(path)
    except (OSError, ValueError) as error:
        raise RecipeError(f"{path}: cannot be read: {error}") from error
