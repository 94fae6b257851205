"""One report of everything wrong with a dataset, before the first step of training.

Owns the checks that need more than file names; the readers check names and index files.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from model.config import Modality
from training.datasets.sample import Sample
from training.errors import DatasetError

SHOWN = 3
ARTICLES = {Modality.VISIBLE: "a", Modality.INFRARED: "an"}


@dataclass(frozen=True)
class Problem:
    """One kind of fault, with everything that shows it."""

    what: str
    where: tuple[str, ...]

    def __str__(self) -> str:
        shown = ", ".join(self.where[:SHOWN])
        more = f" and {len(self.where) - SHOWN} more" if len(self.where) > SHOWN else ""
        return f"{len(self.where)} {self.what}: {shown}{more}"


def incomplete_identities(samples: Sequence[Sample]) -> dict[int, Modality]:
    """Identities that lack one modality, with the modality that they lack."""
    seen: dict[int, set[Modality]] = defaultdict(set)
    for sample in samples:
        seen[sample.person_id].add(sample.modality)
    lacking = {person_id: set(Modality) - have for person_id, have in sorted(seen.items())}
    return {person_id: missing.pop() for person_id, missing in lacking.items() if missing}


def identity_problems(samples: Sequence[Sample]) -> list[Problem]:
    """The identities without one modality as problems, each with its first file."""
    first: dict[int, Path] = {}
    for sample in samples:
        first.setdefault(sample.person_id, sample.path)
    lacking = incomplete_identities(samples)
    return [
        Problem(
            f"identities without {ARTICLES[modality]} {modality.value} image",
            tuple(f"id {person_id} ({first[person_id]})" for person_id in persons),
        )
        for modality in Modality
        if (persons := [person for person, missing in lacking.items() if missing is modality])
    ]


def raise_for(root: Path, problems: Sequence[Problem]) -> None:
    """Raise one DatasetError that lists every problem; nothing where there is none."""
    if problems:
        raise DatasetError(f"{root}: " + "; ".join(str(problem) for problem in problems))
