"""Whether a model may follow another: both measured on one set of labelled crops, and compared.

What the set is and how it is scored comes from outside (`Evaluate`); what embeds the crops, too.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from gallery_index.refreshable import EmbedCrops
from service.errors import EvaluationGateError

DECIDING = "mAP"
OVERRIDE = "evaluation"
"""The name by which an operator lets a model pass."""


class Evaluate(Protocol):
    """Measures a model on the evaluation set."""

    @property
    def crops(self) -> int:
        """How many crops the set has: what a measurement embeds."""

    def __call__(self, embed: EmbedCrops, /) -> Mapping[str, float]:
        """Return figures in percent by name: `mAP`, `rank1`, and those of each direction.

        Names that end in `mAP` decide. Raises: EvaluationFailedError; what `embed` raises passes.
        """


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The figures of two models, in percent, and by how many points one may be worse."""

    candidate: Mapping[str, float]
    active: Mapping[str, float]
    margin: float

    def shortfalls(self) -> list[str]:
        """Say where the candidate is worse by more than the margin; empty: it may follow."""
        return [
            f"{name} {self.candidate[name]:.2f} % against {before:.2f} %"
            for name, before in self.active.items()
            if name.endswith(DECIDING) and self.candidate[name] < before - self.margin
        ]

    def refuse_worse(self) -> None:
        """Let the candidate pass. Raises: EvaluationGateError with both figures."""
        if shortfalls := self.shortfalls():
            raise EvaluationGateError(
                f"the model is worse than the active one by more than {self.margin:g} percentage"
                f" points: {', '.join(shortfalls)}; an override of {OVERRIDE!r} lets it pass",
                self.as_json(),
            )

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "candidate": dict(self.candidate),
            "active": dict(self.active),
            "margin": self.margin,
        }


class EvaluationGate:
    """Compares models on the evaluation set; measures none twice. For one thread at a time."""

    def __init__(self, evaluate: Evaluate, margin: float) -> None:
        """`margin`: percentage points of mAP that a model may be worse, in each direction."""
        self._evaluate = evaluate
        self._margin = margin
        self._figures: dict[str, Mapping[str, float]] = {}

    @property
    def crops(self) -> int:
        """How many crops a measurement embeds."""
        return self._evaluate.crops

    def measured(self, model_id: str) -> bool:
        """Whether a model's figures are known already."""
        return model_id in self._figures

    def compare(
        self, candidate: tuple[str, EmbedCrops], active: tuple[str, EmbedCrops]
    ) -> Evaluation:
        """Measure two models, each an id and what embeds with it. Slow.

        Raises: EvaluationFailedError; what embeds may raise too.
        """
        return Evaluation(self._of(*candidate), self._of(*active), self._margin)

    def _of(self, model_id: str, embed: EmbedCrops) -> Mapping[str, float]:
        if model_id not in self._figures:
            self._figures[model_id] = self._evaluate(embed)
        return self._figures[model_id]
