"""Render a whole data set to disk: all of it or nothing, the same bytes with any number of workers.

Owns the checks, the worker pool and the final rename; names of files belong to `layouts`.
"""

import errno
import json
import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from PIL import Image

from training.synthetic.errors import SynthesisError
from training.synthetic.layouts import LAYOUTS, MAX_PERSONS, layout_of, write_index_files
from training.synthetic.people import sample_person
from training.synthetic.render import RENDERER_VERSION, crop_rng, render_crop
from training.synthetic.samples import camera_of

JPEG_QUALITY = 90
"""One quality for all, so that compression tells nobody apart."""
SMALLEST_POOL = 8
"""Fewer persons than this are rendered here: starting workers would take longer."""

Progress = Callable[[int, int], None]
"""Called with (persons done, persons in all)."""


@dataclass(frozen=True)
class SynthesisSummary:
    """What was rendered where."""

    out: str
    layout: str
    persons: int
    seed: int
    images_per_camera: int
    test_persons: int | None
    images: int
    renderer_version: int


def synthesize(
    out: Path,
    *,
    layout: str,
    persons: int,
    seed: int,
    images_per_camera: int | None = None,
    test_persons: int | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> SynthesisSummary:
    """Render a data set into `out`, a folder that is new or empty.

    `images_per_camera` is by default the layout's own (RegDB 10, LLCM 1, else 4); `test_persons`
    the number of identities in the test split. It is written beside `out` and renamed at the end,
    so an interrupted run leaves nothing. Raises SynthesisError for arguments out of range, an `out`
    that holds something, and a disk that is full.
    """
    _check(layout, persons, seed, images_per_camera, test_persons)
    images = images_per_camera or layout_of(layout).default_images
    out = out.resolve()
    _check_free(out)
    with _all_or_nothing(out) as partial_out:
        apart = layout_of(layout).apart(persons, test_persons, seed)
        render = partial(_render_person, partial_out, layout, seed, images, apart)
        done = _render_all(render, persons, workers, progress)
        summary = SynthesisSummary(
            out=str(out),
            layout=layout,
            persons=persons,
            seed=seed,
            images_per_camera=images,
            test_persons=test_persons,
            images=done,
            renderer_version=RENDERER_VERSION,
        )
        files = layout_of(layout).index_files(persons, images, test_persons, seed)
        write_index_files(partial_out, files | {"SYNTHETIC.json": _describe(summary)})
    return summary


def _describe(summary: SynthesisSummary) -> str:
    record = asdict(summary)
    del record["out"]
    return json.dumps(record, indent=2) + "\n"


def _check(
    layout: str, persons: int, seed: int, images: int | None, test_persons: int | None
) -> None:
    if layout not in LAYOUTS:
        raise SynthesisError(f"layout must be one of {', '.join(LAYOUTS)}, got {layout!r}")
    if not 1 <= persons <= MAX_PERSONS:
        raise SynthesisError(f"persons must be from 1 to {MAX_PERSONS}, got {persons}")
    if seed < 0:
        raise SynthesisError(f"seed must not be negative, got {seed}")
    if images is not None and not 1 <= images <= MAX_PERSONS:
        raise SynthesisError(f"images per camera must be from 1 to {MAX_PERSONS}, got {images}")
    if test_persons is not None and not 1 <= test_persons <= persons:
        raise SynthesisError(
            f"test persons must be from 1 to the number of persons, {persons}, got {test_persons}"
        )


def _check_free(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise SynthesisError(f"{out} is a file; expected a folder that is new or empty")
    if out.is_dir() and any(out.iterdir()):
        raise SynthesisError(f"{out} is not empty; nothing was written")


@contextmanager
def _all_or_nothing(out: Path) -> Iterator[Path]:
    """Give a folder beside `out` that becomes `out` at the end, or disappears."""
    partial_out = out.with_name(f".{out.name}.{os.getpid()}.partial")
    try:
        partial_out.mkdir(parents=True)
        yield partial_out
        partial_out.rename(out)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise SynthesisError(f"no space left on the disk that holds {out}") from error
        raise SynthesisError(f"cannot write {out}: {error.strerror or error}") from error
    except BrokenProcessPool as error:
        raise SynthesisError("a rendering process died (out of memory?)") from error
    finally:
        shutil.rmtree(partial_out, ignore_errors=True)


def _render_all(
    render: Callable[[int], int], persons: int, workers: int | None, progress: Progress | None
) -> int:
    count = workers if workers is not None else os.cpu_count() or 1
    done = 0
    for number, written in enumerate(_mapped(render, persons, count), start=1):
        done += written
        if progress is not None:
            progress(number, persons)
    return done


def _mapped(render: Callable[[int], int], persons: int, workers: int) -> Iterator[int]:
    if workers == 1 or persons < SMALLEST_POOL:
        yield from map(render, range(persons))
        return
    spawn = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=spawn)
    try:
        yield from pool.map(render, range(persons), chunksize=2)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _render_person(
    root: Path, layout: str, seed: int, images: int, apart: frozenset[int], index: int
) -> int:
    """Render every file of one person. Returns how many."""
    person = sample_person(seed, index)
    files = layout_of(layout).crops(index, images, apart=index in apart)
    for file in files:
        rng = crop_rng(seed, index, file.camera_number, file.image_number)
        crop = render_crop(person, camera_of(file.camera_number), rng)
        path = root / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(crop.image).save(path, "JPEG", quality=JPEG_QUALITY)
    return len(files)
