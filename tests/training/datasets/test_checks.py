"""Whether a dataset can be trained on, told from its names."""

from pathlib import Path

import pytest

from model.config import Modality
from training.datasets.checks import CheckReport, check_names
from training.datasets.problems import Problem
from training.datasets.sample import Dataset, Sample
from training.errors import DatasetError
from training.recipe import TrainingConfig


def samples(first: int, *counts: tuple[int, int]) -> tuple[Sample, ...]:
    """Samples of persons numbered from `first` with these (visible, infrared) counts."""
    return tuple(
        Sample(Path(f"{person}/{modality}{number}.png"), person, 1, modality)
        for person, both in enumerate(counts, start=first)
        for modality, count in zip(Modality, both, strict=True)
        for number in range(count)
    )


def dataset(
    train: tuple[Sample, ...],
    validation: tuple[Sample, ...] = samples(50, (1, 1)),
    test: tuple[Sample, ...] = (),
) -> Dataset:
    return Dataset("sysu-mm01", Path("people"), train, validation, test)


def errors(report: CheckReport) -> list[str]:
    return [str(problem) for problem in report.errors]


def remarks(report: CheckReport) -> list[str]:
    return [str(problem) for problem in report.remarks]


def test_a_dataset_with_both_modalities_of_everybody_is_sound(tiny_recipe: TrainingConfig) -> None:
    report = check_names(dataset(samples(1, (2, 2), (3, 2))), tiny_recipe)
    assert report.is_sound
    assert (report.errors, report.remarks, report.left_out) == ((), (), 0)
    report.raise_for_errors()


def test_identities_that_lack_a_modality_are_errors_with_a_file_each() -> None:
    report = check_names(dataset(samples(1, (2, 2), (0, 1), (3, 0), (4, 0))))
    assert errors(report) == [
        "1 identity without a visible image: id 2 (2/infrared0.png)",
        "2 identities without an infrared image: id 3 (3/visible0.png), id 4 (4/visible0.png)",
    ]
    with pytest.raises(DatasetError, match=r"^people: 1 identity without a visible image"):
        report.raise_for_errors()


def test_a_recipe_that_drops_them_remarks_them(tiny_recipe: TrainingConfig) -> None:
    recipe = tiny_recipe.model_copy(update={"drop_incomplete_identities": True})
    report = check_names(dataset(samples(1, (2, 2), (0, 1), (3, 0), (2, 2))), recipe)
    assert report.is_sound
    assert remarks(report) == [
        "1 identity left out, without a visible image: id 2 (2/infrared0.png)",
        "1 identity left out, without an infrared image: id 3 (3/visible0.png)",
    ]
    assert report.left_out == 2
    assert {sample.person_id for sample in report.dataset.train} == {1, 4}


@pytest.mark.parametrize("drop", [False, True])
def test_a_training_split_of_one_modality_is_one_error(
    tiny_recipe: TrainingConfig, drop: bool
) -> None:
    recipe = tiny_recipe.model_copy(update={"drop_incomplete_identities": drop})
    report = check_names(dataset(samples(1, (2, 0), (3, 0))), recipe)
    assert errors(report) == [
        "the train split has no infrared image among 5; training needs both modalities"
    ]


def test_an_empty_training_split_stops_a_recipe_and_no_evaluation(
    tiny_recipe: TrainingConfig,
) -> None:
    only_test = dataset((), (), samples(1, (1, 1)))
    assert errors(check_names(only_test, tiny_recipe)) == ["the train split is empty"]
    assert check_names(only_test).is_sound


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ([(4, 4)], "a batch holds 2 identities, the training set has 1"),
        (
            [(9, 1), (1, 9)],
            "4 images per person need an identity with 2 visible and 2 infrared images;"
            " the largest, identity 1, has 9 and 1",
        ),
    ],
)
def test_batches_that_cannot_be_filled_are_an_error(
    tiny_recipe: TrainingConfig, counts: list[tuple[int, int]], message: str
) -> None:
    assert errors(check_names(dataset(samples(1, *counts)), tiny_recipe)) == [message]


def test_what_the_reference_sampling_crashes_on_is_an_error(tiny_recipe: TrainingConfig) -> None:
    batch = tiny_recipe.batch.model_copy(update={"sampling": "reference"})
    recipe = tiny_recipe.model_copy(update={"batch": batch})
    uneven = dataset(samples(1, (4, 4), (4, 1)))
    [error] = errors(check_names(uneven, recipe))
    assert error.startswith("identity 2 has 4 visible and 1 infrared images")
    assert check_names(uneven, tiny_recipe).is_sound


@pytest.mark.parametrize(
    ("validation", "why"),
    [
        ((), "no identity is held out"),
        (samples(50, (2, 0)), "the held-out identities have no infrared image"),
        (samples(50, (0, 2), (0, 1)), "the held-out identities have no visible image"),
    ],
)
def test_a_validation_that_cannot_be_is_remarked(
    tiny_recipe: TrainingConfig, validation: tuple[Sample, ...], why: str
) -> None:
    report = check_names(dataset(samples(1, (2, 2), (2, 2)), validation), tiny_recipe)
    assert report.is_sound
    assert remarks(report) == [f"no validation, hence no best checkpoint: {why}"]
    joined = tiny_recipe.model_copy(update={"train_on_validation": True})
    if not validation:
        assert remarks(check_names(report.dataset, joined)) == []


def test_a_recipe_that_trains_on_the_held_out_checks_them_too(tiny_recipe: TrainingConfig) -> None:
    recipe = tiny_recipe.model_copy(update={"train_on_validation": True})
    report = check_names(dataset(samples(1, (2, 2), (2, 2)), samples(50, (2, 0))), recipe)
    assert errors(report) == ["1 identity without an infrared image: id 50 (50/visible0.png)"]


def test_test_identities_of_one_modality_are_remarked() -> None:
    report = check_names(dataset(samples(1, (1, 1)), test=samples(7, (1, 1), (1, 0), (0, 1))))
    assert remarks(report) == ["2 test identities seen in one modality only: id 8, id 9"]


def test_what_the_reader_found_comes_first_and_hides_what_follows_from_it(
    tiny_recipe: TrainingConfig,
) -> None:
    found = Dataset(
        "sysu-mm01",
        Path("people"),
        (),
        (),
        (),
        (Problem("1 of 6 camera folders are missing", ("cam2",)),),
        (Problem("1 folder of an id in no split", ("cam1/0007",)),),
    )
    report = check_names(found, tiny_recipe)
    assert errors(report) == ["1 of 6 camera folders are missing: cam2"]
    assert remarks(report) == ["1 folder of an id in no split: cam1/0007"]


def test_the_report_counts_each_split_for_a_person_and_for_a_program() -> None:
    report = check_names(dataset(samples(1, (2, 2), (3, 0)), test=samples(7, (1_000, 1))))
    assert report.lines() == [
        "sysu-mm01 in people",
        "  train           2 identities        7 images (5 visible, 2 infrared)",
        "  validation      1 identities        2 images (1 visible, 1 infrared)",
        "  test            1 identities    1,001 images (1,000 visible, 1 infrared)",
        "error: 1 identity without an infrared image: id 2 (2/visible0.png)",
    ]
    assert report.as_json() == {
        "dataset": "sysu-mm01",
        "data": "people",
        "sound": False,
        "splits": {
            "train": {"identities": 2, "images": 7, "visible": 5, "infrared": 2},
            "validation": {"identities": 1, "images": 2, "visible": 1, "infrared": 1},
            "test": {"identities": 1, "images": 1_001, "visible": 1_000, "infrared": 1},
        },
        "left_out": 0,
        "errors": [
            {
                "what": "1 identity without an infrared image",
                "count": 1,
                "where": ["id 2 (2/visible0.png)"],
            }
        ],
        "remarks": [],
    }
