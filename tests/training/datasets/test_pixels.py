"""Decoded images: in memory, or once in a file that several processes map."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model.config import Modality
from tests.training.layouts import write_crop
from training.datasets.pixels import decode_images, unreadable_images
from training.datasets.sample import Sample
from training.errors import DatasetError

SIZE = (8, 8)


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    """Five flat crops of levels 10, 20, ... 50."""
    for number in range(1, 6):
        write_crop(tmp_path / "crops" / f"{number}.png", 10 * number)
    return [
        Sample(tmp_path / "crops" / f"{number}.png", number, 1, Modality.VISIBLE)
        for number in range(1, 6)
    ]


def test_rows_are_the_images_in_order(samples: list[Sample]) -> None:
    pixels, problems = decode_images(samples, SIZE)
    assert problems == []
    assert pixels.shape == (5, 8, 8, 3)
    assert pixels.dtype == np.uint8
    assert pixels[:, 3, 4, 1].tolist() == [10, 20, 30, 40, 50]


def test_every_image_that_cannot_be_read_is_named_with_its_reason(
    samples: list[Sample], tmp_path: Path
) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 32, 3), dtype=np.uint8)
    torn = tmp_path / "crops" / "2.png"
    Image.fromarray(noise).save(torn, "JPEG")
    torn.write_bytes(torn.read_bytes()[:700])
    Image.fromarray(noise[:4]).save(samples[2].path)
    samples[3].path.unlink()
    samples[3].path.mkdir()
    samples[4].path.unlink()
    _, [problem] = decode_images(samples, SIZE)
    assert problem.what == "4 unreadable images"
    for place, sample, reason in zip(
        problem.where,
        samples[1:],
        [
            "cannot decode the JPEG image: ",
            "(the image is 32x4 pixels; at least 8x8 are needed",
            "Is a directory",
            "No such file or directory",
        ],
        strict=True,
    ):
        assert place.startswith(f"{sample.path} (")
        assert reason in place
    assert unreadable_images(samples) == [problem]


def test_shared_pixels_are_those_in_memory_and_are_decoded_once(
    samples: list[Sample], tmp_path: Path
) -> None:
    shared = tmp_path / "run" / "shared"
    first, _ = decode_images(samples, SIZE, shared=shared)
    state = {sample.path: sample.path.stat() for sample in samples}
    for path, before in state.items():  # the same size and time, and no image any more
        path.write_bytes(b"x" * before.st_size)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    second, problems = decode_images(samples, SIZE, shared=shared)
    assert problems == []
    assert isinstance(second, np.memmap)
    assert second[:, 0, 0, 0].tolist() == first[:, 0, 0, 0].tolist() == [10, 20, 30, 40, 50]
    assert len(list(shared.iterdir())) == 1


def test_images_that_changed_and_other_sizes_are_decoded_anew(
    samples: list[Sample], tmp_path: Path
) -> None:
    decode_images(samples, SIZE, shared=tmp_path / "shared")
    write_crop(samples[0].path, 99)
    os.utime(samples[0].path, ns=(1, 1))
    changed, _ = decode_images(samples, SIZE, shared=tmp_path / "shared")
    assert changed[:, 0, 0, 0].tolist() == [99, 20, 30, 40, 50]
    larger, _ = decode_images(samples, (16, 8), shared=tmp_path / "shared")
    assert larger.shape == (5, 16, 8, 3)


def test_a_process_that_writes_into_shared_pixels_changes_nobody_elses(
    samples: list[Sample], tmp_path: Path
) -> None:
    mine, _ = decode_images(samples, SIZE, shared=tmp_path / "shared")
    mine[:] = 0
    others, _ = decode_images(samples, SIZE, shared=tmp_path / "shared")
    assert others[:, 0, 0, 0].tolist() == [10, 20, 30, 40, 50]


def test_broken_images_leave_no_shared_file(samples: list[Sample], tmp_path: Path) -> None:
    samples[1].path.write_bytes(b"")
    _, problems = decode_images(samples, SIZE, shared=tmp_path / "shared")
    assert [problem.what for problem in problems] == ["1 unreadable image"]
    assert list((tmp_path / "shared").iterdir()) == []


def test_a_full_disk_is_one_line_and_leaves_no_shared_file(
    samples: list[Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(DatasetError, match=r"shared: cannot hold the decoded images: .*No space"):
        decode_images(samples, SIZE, shared=tmp_path / "shared")
    assert list((tmp_path / "shared").iterdir()) == []
