"""Whether a dataset can be trained on: one report, before the first step.

Owns the checks that need more than one reader's names: both modalities of every identity, whether
the recipe's batches can be filled, and the report itself. Opens no image; `pixels` does.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from model.config import Modality
from training.datasets.problems import SHOWN, Findings, Problem, printable, raise_for
from training.datasets.sample import Dataset, Sample, person_ids
from training.errors import DatasetError
from training.recipe import TrainingConfig
from training.sampler import SAMPLERS

ARTICLES = {Modality.VISIBLE: "a", Modality.INFRARED: "an"}
PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class CheckReport:
    """What a dataset holds and what is wrong with it.

    `dataset` is the one to train on: the recipe's choice of identities is applied. Errors stop a
    training, remarks do not. `left_out` counts the identities that the recipe drops.
    """

    dataset: Dataset
    errors: tuple[Problem, ...]
    remarks: tuple[Problem, ...]
    left_out: int = 0

    @property
    def is_sound(self) -> bool:
        """Whether nothing stops a training."""
        return not self.errors

    def with_errors(self, errors: Sequence[Problem]) -> "CheckReport":
        """The report with errors that were found later."""
        return replace(self, errors=(*self.errors, *errors))

    def raise_for_errors(self) -> None:
        """Raises: DatasetError, one line, if anything stops a training."""
        raise_for(self.dataset.root, self.errors)

    def lines(self, shown: int = SHOWN) -> list[str]:
        """The report for a person: counts of each split, then errors and remarks, a line each."""
        return [
            printable(f"{self.dataset.name} in {self.dataset.root}"),
            *(_counts_line(part, getattr(self.dataset, part)) for part in PARTS),
            *(f"error: {problem.describe(shown)}" for problem in self.errors),
            *(f"remark: {problem.describe(shown)}" for problem in self.remarks),
        ]

    def as_json(self) -> dict[str, Any]:
        """The whole report, with every place, for a program."""
        return {
            "dataset": self.dataset.name,
            "data": str(self.dataset.root),
            "sound": self.is_sound,
            "splits": {part: _counts(getattr(self.dataset, part)) for part in PARTS},
            "left_out": self.left_out,
            "errors": [_problem_json(problem) for problem in self.errors],
            "remarks": [_problem_json(problem) for problem in self.remarks],
        }


def check_names(dataset: Dataset, config: TrainingConfig | None = None) -> CheckReport:
    """Check everything that names and labels tell, for a recipe's training or for any (None).

    Errors are those of the reader and: no training image, none of one modality, identities that
    lack a modality (unless the recipe drops them), batches that cannot be filled. Remarks are those
    of the reader and: identities that were dropped, a validation that cannot be, test identities
    of one modality.
    """
    findings = Findings(list(dataset.errors), list(dataset.remarks))
    if config is not None and config.train_on_validation:
        dataset = replace(dataset, train=dataset.train + dataset.validation, validation=())
    dataset, left_out = _dropped(dataset, config, findings)
    if dataset.train:
        _check_training(dataset.train, config, findings)
    elif config is not None and not dataset.errors:
        findings.errors.append(Problem("the train split is empty"))
    _remark_validation(dataset, config, findings)
    _remark_test(dataset, findings)
    return CheckReport(dataset, tuple(findings.errors), tuple(findings.remarks), left_out)


def incomplete_identities(samples: Sequence[Sample]) -> dict[int, Modality]:
    """Identities that lack one modality, with the modality that they lack."""
    seen: dict[int, set[Modality]] = defaultdict(set)
    for sample in samples:
        seen[sample.person_id].add(sample.modality)
    lacking = {person_id: set(Modality) - have for person_id, have in sorted(seen.items())}
    return {person_id: missing.pop() for person_id, missing in lacking.items() if missing}


def absent_modality(samples: Sequence[Sample]) -> Modality | None:
    """The modality that no sample has, where there are samples."""
    absent = set(Modality) - {sample.modality for sample in samples}
    return absent.pop() if samples and absent else None


def _dropped(
    dataset: Dataset, config: TrainingConfig | None, findings: Findings
) -> tuple[Dataset, int]:
    """Leave out incomplete identities where the recipe says so, unless nobody would be left."""
    if config is None or not config.drop_incomplete_identities or absent_modality(dataset.train):
        return dataset, 0
    lacking = incomplete_identities(dataset.train)
    for modality, persons in _persons_by_absence(dataset.train):
        words = f"left out, without {ARTICLES[modality]} {modality} image"
        findings.remark(persons, f"identity {words}", f"identities {words}")
    kept = tuple(sample for sample in dataset.train if sample.person_id not in lacking)
    return replace(dataset, train=kept), len(lacking)


def _check_training(
    samples: Sequence[Sample], config: TrainingConfig | None, findings: Findings
) -> None:
    absent = absent_modality(samples)
    if absent is not None:
        words = f"the train split has no {absent} image among {len(samples):,}"
        findings.errors.append(Problem(f"{words}; training needs both modalities"))
        return
    for modality, persons in _persons_by_absence(samples):
        words = f"without {ARTICLES[modality]} {modality} image"
        findings.error(persons, f"identity {words}", f"identities {words}")
    if config is not None and not findings.errors:
        _check_batches(samples, config, findings)


def _persons_by_absence(samples: Sequence[Sample]) -> list[tuple[Modality, list[str]]]:
    """The identities that lack each modality, each with its first file."""
    first: dict[int, Sample] = {}
    for sample in samples:
        first.setdefault(sample.person_id, sample)
    lacking = incomplete_identities(samples)
    return [
        (
            modality,
            [
                f"id {person_id} ({first[person_id].path})"
                for person_id, missing in lacking.items()
                if missing is modality
            ],
        )
        for modality in Modality
    ]


def _check_batches(samples: Sequence[Sample], config: TrainingConfig, findings: Findings) -> None:
    try:
        SAMPLERS[config.batch.sampling](
            np.array([sample.person_id for sample in samples], dtype=np.int64),
            np.array([sample.modality is Modality.INFRARED for sample in samples]),
            persons=config.batch.persons,
            images_per_person=config.batch.images_per_person,
            seed=0,
        )
    except DatasetError as error:
        findings.errors.append(Problem(str(error)))


def _remark_validation(dataset: Dataset, config: TrainingConfig | None, findings: Findings) -> None:
    if not dataset.train or (config is not None and config.train_on_validation):
        return
    absent = absent_modality(dataset.validation)
    if not dataset.validation:
        why = "no identity is held out"
    elif absent is not None:
        why = f"the held-out identities have no {absent} image"
    else:
        return
    findings.remarks.append(Problem(f"no validation, hence no best checkpoint: {why}"))


def _remark_test(dataset: Dataset, findings: Findings) -> None:
    """Test identities of one modality are nobody's right answer in the other."""
    lacking = incomplete_identities(dataset.test)
    where = [f"id {person_id}" for person_id in lacking]
    words = "seen in one modality only"
    findings.remark(where, f"test identity {words}", f"test identities {words}")


def _counts(samples: Sequence[Sample]) -> dict[str, int]:
    modalities = Counter(sample.modality for sample in samples)
    return {
        "identities": len(person_ids(samples)),
        "images": len(samples),
        **{modality.value: modalities[modality] for modality in Modality},
    }


def _counts_line(part: str, samples: Sequence[Sample]) -> str:
    counts = _counts(samples)
    return (
        f"  {part:<11}{counts['identities']:>6,} identities {counts['images']:>8,} images"
        f" ({counts['visible']:,} visible, {counts['infrared']:,} infrared)"
    )


def _problem_json(problem: Problem) -> dict[str, Any]:
    return {"what": problem.what, "count": len(problem.where), "where": list(problem.where)}
