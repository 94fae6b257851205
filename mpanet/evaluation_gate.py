"""The evaluation set of a service: read by `training`, which the service does not know.

Scored as `mpanet evaluate` scores its test split; the service embeds, so that queries go first.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import numpy as np
from numpy.typing import NDArray

from gallery_index.refreshable import EmbedCrops
from mpanet.errors import reported
from service.errors import EvaluationFailedError
from training.assessment import Assessment, assess, assessments
from training.datasets.readers import DatasetName
from training.datasets.sample import Sample
from training.errors import TrainingError

if TYPE_CHECKING:
    from training.evaluation import EvaluationRow

CROPS_AT_ONCE = 256
_DIRECTION = re.compile(r"\w+-to-\w+")


class EvaluationSet:
    """The labelled crops that models of a service are measured on."""

    def __init__(self, part: Assessment) -> None:
        self._part = part

    @property
    def crops(self) -> int:
        """How many crops it has."""
        return len(self._part.dataset.test)

    def __call__(self, embed: EmbedCrops, /) -> dict[str, float]:
        """Return `mAP` and `rank1` in percent, then those of each direction if there are two.

        Raises: EvaluationFailedError: a crop cannot be read or embedded; what `embed` raises.
        """
        try:
            rows, _ = assess([self._part], "model", lambda samples: _embedded(samples, embed))
        except TrainingError as error:
            raise EvaluationFailedError(f"the evaluation set cannot be used: {error}") from error
        return _figures(rows)


def evaluation_set(text: str) -> EvaluationSet:
    """Read the test split of a folder with a `manifest.csv`, or of a dataset as `NAME:FOLDER`.

    Raises: CommandError: it cannot be read.
    """
    name, root = _named(text)
    with reported(TrainingError):
        [part] = assessments(name, root)
    return EvaluationSet(part)


def _named(text: str) -> tuple[DatasetName, Path]:
    before, _, folder = text.partition(":")
    for name in get_args(DatasetName):
        if name == before and folder:
            return name, Path(folder)
    return "manifest", Path(text)


def _embedded(samples: Sequence[Sample], embed: EmbedCrops) -> NDArray[np.float32]:
    """Embed the crops of samples, some at a time: float32 (N, D)."""
    parts = []
    for start in range(0, len(samples), CROPS_AT_ONCE):
        some = samples[start : start + CROPS_AT_ONCE]
        embeddings = embed([_read(sample.path) for sample in some])
        for sample, embedding in zip(some, embeddings, strict=True):
            if embedding is None:
                raise EvaluationFailedError(
                    f"the evaluation set cannot be used: {sample.path} cannot be embedded"
                )
            parts.append(embedding)
    return np.stack(parts)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise EvaluationFailedError(
            f"the evaluation set cannot be used: {path} cannot be read ({error.strerror})"
        ) from error


def _figures(rows: "Sequence[EvaluationRow]") -> dict[str, float]:
    means = [row.mean for row in rows]
    figures = {
        "mAP": float(np.mean([mean.mAP for mean in means])),
        "rank1": float(np.mean([mean.rank1 for mean in means])),
    }
    for row, mean in zip(rows, means, strict=True):
        if len(rows) > 1 and (direction := _DIRECTION.search(row.protocol)):
            figures[f"{direction[0]} mAP"] = mean.mAP
            figures[f"{direction[0]} rank1"] = mean.rank1
    return figures
