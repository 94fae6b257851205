"""What the commands offer is what the readers read."""

from typing import get_args

from mpanet.options import DATASETS
from training.datasets.readers import DatasetName


def test_every_dataset_that_is_read_can_be_named_and_no_other() -> None:
    assert set(DATASETS) == set(get_args(DatasetName))
