"""The people of `mpanet demo`: enrolled once into a running service, with crops to search by.

Owns who they are and where the crops to search by lie; serving belongs to `service`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from itertools import islice
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from service.client import ServiceClient, ServiceError
from training.synthetic.samples import SyntheticSample, render_people

SEED = 2026
"""Not a seed that the bundled model was trained on: it has seen none of these people."""
PEOPLE = 60
GALLERY_CAMERAS = (1, 2, 4, 5)
QUERY_CAMERAS = (3, 6)
BATCH_SIZE = 16


@dataclass(frozen=True)
class Demonstration:
    """What is ready to be searched: the number of crops enrolled and a crop to search by."""

    enrolled: int
    query: Path


def prepare(client: ServiceClient, queries: Path) -> Demonstration:
    """Enrol the demonstration's people once; write infrared crops of them into `queries`.

    A `queries` folder that is there says that they were enrolled: what was deleted since then
    does not come back.

    Raises: ServiceError if the service refuses, OSError if the folder cannot be written.
    """
    if not queries.exists():
        _enroll(client)
        _write_queries(queries)
    return Demonstration(PEOPLE * len(GALLERY_CAMERAS), min(queries.iterdir()))


def _enroll(client: ServiceClient) -> None:
    samples = render_people(PEOPLE, SEED, GALLERY_CAMERAS, images_per_camera=1)
    total = PEOPLE * len(GALLERY_CAMERAS)
    with tqdm(total=total, desc="enrolling rendered people", unit="crop", leave=False) as progress:
        for batch in _batches(samples):
            results = client.enroll_batch([_png(s) for s in batch], [_fields(s) for s in batch])
            for result in results:
                if result["status"] != 201:
                    raise ServiceError(result["problem"])
            progress.update(len(batch))


def _batches(samples: Iterator[SyntheticSample]) -> Iterator[list[SyntheticSample]]:
    while batch := list(islice(samples, BATCH_SIZE)):
        yield batch


def _fields(sample: SyntheticSample) -> dict[str, str]:
    return {
        "entry_id": f"demo-{sample.person_id}-{sample.camera_number}",
        "person_id": sample.person_id,
        "camera_id": str(sample.camera_number),
        "modality": sample.modality,
    }


def _write_queries(queries: Path) -> None:
    """Write one infrared crop a person and camera; the folder appears when all are there."""
    unfinished = queries.with_name(f".{queries.name}.partial")
    unfinished.mkdir(parents=True, exist_ok=True)
    for sample in render_people(PEOPLE, SEED, QUERY_CAMERAS, images_per_camera=1):
        name = f"{sample.person_id}-camera{sample.camera_number}.png"
        (unfinished / name).write_bytes(_png(sample))
    unfinished.rename(queries)


def _png(sample: SyntheticSample) -> bytes:
    buffer = BytesIO()
    Image.fromarray(sample.image).save(buffer, format="PNG")
    return buffer.getvalue()
