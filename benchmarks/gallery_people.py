"""Embeddings of rendered people whom no network was trained on: what the gallery benchmark extends.

Owns rendering, tracklets of neighbouring crops included, and the file of embeddings. How a few
hundred people become ten thousand is `gallery_data`'s.

    python -m benchmarks.gallery_people --model mpanet/demo_model --out embeddings.npz
"""

import argparse
import io
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from model.encoder import Encoder
from model.preprocessing import read_image
from training.synthetic.cameras import SYSU_CAMERAS, Camera
from training.synthetic.people import sample_person
from training.synthetic.render import crop_rng, render_crop
from training.synthetic.samples import camera_of

SEED = 4711
IMAGES_PER_CAMERA = 4
TRACKLET_CAMERAS = (1, 4, 6)
FRAMES = 4
JPEG_QUALITY = 90
BOX_JITTER = 0.02
"""By how much of its size each side of a tracked person's box moves from frame to frame."""
SENSOR = 5
"""The stream of `render_crop` that draws what differs between two frames: noise and exposure."""
BATCH_SIZE = 32


@dataclass(frozen=True)
class Embedded:
    """Crops of real (here: rendered) people, one row each.

    `embeddings` float32 (N, D) of length 1; `persons`, `cameras` int64 (N,); `infrared` bool (N,);
    `tracklets` int64 (N,): rows of one number are neighbouring frames, -1 is a crop by itself.
    """

    embeddings: NDArray[np.float32]
    persons: NDArray[np.int64]
    cameras: NDArray[np.int64]
    infrared: NDArray[np.bool_]
    tracklets: NDArray[np.int64]

    def rows(self, chosen: NDArray[Any]) -> "Embedded":
        """The rows of an index or a mask."""
        return Embedded(*(getattr(self, field.name)[chosen] for field in fields(self)))

    def save(self, path: Path) -> None:
        """Write it as `.npz`, embeddings in float16 as a gallery keeps them."""
        arrays = {field.name: getattr(self, field.name) for field in fields(self)}
        np.savez(path, **(arrays | {"embeddings": self.embeddings.astype(np.float16)}))


def read_embedded(path: Path) -> Embedded:
    """Read what `save` wrote. Raises ValueError naming an array that is missing."""
    with np.load(path) as arrays:
        missing = [field.name for field in fields(Embedded) if field.name not in arrays.files]
        if missing:
            raise ValueError(f"{path}: no array {missing[0]}; expected what gallery_people writes")
        found = {field.name: arrays[field.name] for field in fields(Embedded)}
    return Embedded(**(found | {"embeddings": found["embeddings"].astype(np.float32)}))


@dataclass(frozen=True)
class _Crop:
    jpeg: bytes
    person: int
    camera: Camera
    tracklet: int


class _NextFrame(np.random.Generator):
    """The streams of an earlier crop but for the sensor's: the same moment of the same pass."""

    def __init__(self, streams: NDArray[np.int64]) -> None:
        super().__init__(np.random.PCG64(0))
        self._streams = streams

    def integers(self, *_: Any, **__: Any) -> NDArray[np.int64]:  # type: ignore[override]
        return self._streams


def embed_people(model: Path, *, persons: int, seed: int = SEED) -> Embedded:
    """Render persons 1 to `persons` of a population and embed them with a model directory."""
    crops: list[_Crop] = []
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        rendered = pool.map(partial(_render_person, seed), range(persons), chunksize=4)
        for of_person in tqdm(rendered, desc="rendering", unit="person", total=persons):
            crops += of_person
    with Encoder.open(model) as encoder:
        embeddings = np.concatenate(list(_embed(encoder, crops)))
    return Embedded(
        embeddings,
        np.array([crop.person for crop in crops]),
        np.array([crop.camera.number for crop in crops]),
        np.array([crop.camera.modality == "infrared" for crop in crops]),
        np.array([crop.tracklet for crop in crops]),
    )


def _embed(encoder: Encoder, crops: Sequence[_Crop]) -> Iterator[NDArray[np.float32]]:
    for start in tqdm(range(0, len(crops), BATCH_SIZE), desc="embedding", unit="batch"):
        batch = crops[start : start + BATCH_SIZE]
        images = [encoder.prepare(read_image(crop.jpeg)) for crop in batch]
        yield encoder.encode(np.stack(images)).embedding


def _render_person(seed: int, index: int) -> list[_Crop]:
    """Four crops by every camera, then one tracklet by some of them."""
    person = sample_person(seed, index)
    crops = []
    for camera in SYSU_CAMERAS:
        for number in range(IMAGES_PER_CAMERA):
            image = render_crop(person, camera, crop_rng(seed, index, camera.number, number)).image
            crops.append(_Crop(_jpeg(image), index, camera, -1))
    for place, camera in enumerate(camera_of(number) for number in TRACKLET_CAMERAS):
        rng = crop_rng(seed, index, camera.number, IMAGES_PER_CAMERA)
        streams = rng.integers(2**62, size=6)
        for _ in range(FRAMES):
            streams[SENSOR] = rng.integers(2**62)
            image = render_crop(person, camera, _NextFrame(streams)).image
            tracklet = index * len(TRACKLET_CAMERAS) + place
            crops.append(_Crop(_jpeg(_jittered(image, rng)), index, camera, tracklet))
    return crops


def _jittered(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """What a detector's box shows that sits a little inside of this one."""
    height, width = image.shape[:2]
    top, bottom = (rng.uniform(0, BOX_JITTER, 2) * height).round().astype(int)
    left, right = (rng.uniform(0, BOX_JITTER, 2) * width).round().astype(int)
    return image[top : height - bottom, left : width - right]


def _jpeg(image: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=JPEG_QUALITY)
    return file.getvalue()


def main(argv: Sequence[str] | None = None) -> int:
    """Render, embed, write."""
    parser = argparse.ArgumentParser(description="Embed rendered people whom no network knows.")
    parser.add_argument("--model", type=Path, required=True, metavar="DIR")
    parser.add_argument("--persons", type=int, default=300)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE")
    args = parser.parse_args(argv)
    found = embed_people(args.model, persons=args.persons, seed=args.seed)
    found.save(args.out)
    print(f"{args.out}: {found.embeddings.shape[0]} crops, {found.embeddings.shape[1]} dimensions")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
