"""Test samples as crops of a report."""

from PIL import Image

from model.preprocessing import read_image
from training.datasets.sample import Dataset, Sample
from training.report.content import Crop
from training.report.overlays import jpeg, thumbnail


def crop_of(dataset: Dataset, row: int) -> Crop:
    """Row `row` of the test split, named by its path below the dataset's folder."""
    sample = dataset.test[row]
    path = sample.path
    name = path.relative_to(dataset.root) if path.is_relative_to(dataset.root) else path
    return Crop(
        name=str(name),
        person=str(sample.person_id),
        camera=str(sample.camera_id),
        modality=sample.modality.value,
        jpeg=jpeg(small_picture(sample)),
    )


def small_picture(sample: Sample) -> Image.Image:
    """The sample as it was embedded, at the size that a report shows."""
    return thumbnail(read_image(sample.path.read_bytes()))
