"""What the service's benchmark sends: rendered people as camera systems crop them, in requests.

Owns the files and the bytes of requests around them; sends nothing.
"""

import json
import pickle
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from training.synthetic.samples import render_people

CAMERAS = (1, 2, 3, 4, 5, 6)
HEIGHTS = (128, 500)  # pixels of the smallest and the largest crop
ASPECTS = (0.36, 0.5)  # width over height
JPEG_QUALITY = 90
PNG_EVERY = 8  # cameras store JPEG; a few systems cut out PNG
BOUNDARY = "crop-boundary-of-the-benchmark"


@dataclass(frozen=True, slots=True)
class Crop:
    """One file, and which light it was taken in."""

    content: bytes
    modality: str


def rendered_crops(count: int, seed: int) -> list[Crop]:
    """Render so many different crops, from 64x128 to about 200x500 pixels, of all six cameras."""
    rng = np.random.default_rng(seed)
    people = render_people(-(-count // len(CAMERAS)), seed, CAMERAS, 1)
    crops = []
    for index, sample in enumerate(tqdm(people, total=count, desc="rendering", leave=False)):
        if index == count:
            break
        height = int(rng.integers(HEIGHTS[0], HEIGHTS[1] + 1))
        width = max(64, round(height * rng.uniform(*ASPECTS)))
        image = Image.fromarray(sample.image).resize((width, height), Image.Resampling.BICUBIC)
        crops.append(Crop(encoded(image, png=index % PNG_EVERY == 0), sample.modality))
    return crops


def encoded(image: Image.Image, *, png: bool) -> bytes:
    """The bytes of an image file."""
    buffer = BytesIO()
    if png:
        image.save(buffer, "PNG")
    else:
        image.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


def single_requests(path: str, crops: Iterable[Crop]) -> list[bytes]:
    """One request a crop, for `/query` or `/gallery`."""
    return [request(path, [("file", crop.content)], {"modality": crop.modality}) for crop in crops]


def batch_requests(crops: Sequence[Crop], size: int) -> list[bytes]:
    """Requests of `/gallery/batch`, each of `size` crops."""
    batches = [crops[start : start + size] for start in range(0, len(crops) - size + 1, size)]
    return [
        request(
            "/gallery/batch",
            [("files", crop.content) for crop in batch],
            {"entries": json.dumps([{"modality": crop.modality} for crop in batch])},
        )
        for batch in batches
    ]


def request(path: str, files: Sequence[tuple[str, bytes]], fields: Mapping[str, str]) -> bytes:
    """A POST with a multipart body, as bytes of HTTP/1.1."""
    body = bytearray()
    for name, value in fields.items():
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'
        body += head.encode() + value.encode() + b"\r\n"
    for name, content in files:
        head = (
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"; filename="crop"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        )
        body += head.encode() + content + b"\r\n"
    body += f"--{BOUNDARY}--\r\n".encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n"
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n"
    )
    return head.encode() + bytes(body)


def write_requests(file: Path, requests: Sequence[bytes]) -> Path:
    """Leave requests where the load generator finds them."""
    file.write_bytes(pickle.dumps(list(requests)))
    return file
