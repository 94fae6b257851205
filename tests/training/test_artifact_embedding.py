"""Samples through an artifact: every file once, in the order asked for."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import mpanet
from model.config import Modality
from model.encoder import Encoder
from model.preprocessing import read_image
from tests.training.layouts import write_crop
from training.artifact_embedding import embed_parts, embed_samples, pattern_maps
from training.datasets.sample import Sample
from training.errors import DatasetError

BUNDLED = Path(mpanet.__file__).parent / "demo_model"


def samples(root: Path, names: str, person_id: int = 1) -> list[Sample]:
    return [Sample(root / f"{name}.png", person_id, 1, Modality.VISIBLE) for name in names]


def test_parts_that_share_files_embed_each_file_once(tmp_path: Path) -> None:
    asked: list[str] = []

    def embed(wanted: Sequence[Sample]) -> NDArray[np.float32]:
        asked.extend(sample.path.stem for sample in wanted)
        return np.array([[ord(sample.path.stem)] for sample in wanted], np.float32)

    # The same file may be another person in another split, as in RegDB.
    parts = [samples(tmp_path, "abc"), samples(tmp_path, "cdb", person_id=9)]
    found = [embeddings.ravel().tolist() for embeddings in embed_parts(embed, parts)]
    assert asked == ["a", "b", "c", "d"]
    assert found == [[97, 98, 99], [99, 100, 98]]


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder.open(BUNDLED, provider="cpu", warm_batch_sizes=())


def test_batches_equal_one_image_at_a_time(tmp_path: Path, encoder: Encoder) -> None:
    wanted = [Sample(tmp_path / f"{n}.png", n, 1, Modality.VISIBLE) for n in range(35)]
    for level, sample in enumerate(wanted):
        write_crop(sample.path, 7 * level)
    embeddings, maps = embed_samples(encoder, wanted), pattern_maps(encoder, wanted)
    assert embeddings.shape == (35, 3584)
    assert maps.shape == (35, 6, 8, 3)
    image = encoder.prepare(read_image(wanted[33].path.read_bytes()))
    alone = encoder.encode(image[None])
    np.testing.assert_allclose(embeddings[33], alone.embedding[0], atol=1e-5)
    np.testing.assert_allclose(maps[33], alone.pattern_maps[0], atol=1e-4)


def test_every_broken_image_is_reported_at_once(tmp_path: Path, encoder: Encoder) -> None:
    wanted = samples(tmp_path, "abcd")
    for sample in wanted:
        write_crop(sample.path)
    wanted[1].path.write_bytes(b"\xff\xd8\xff")
    wanted[3].path.unlink()
    with pytest.raises(DatasetError, match=r"2 unreadable images: .*b\.png.*d\.png"):
        embed_samples(encoder, wanted)


def test_no_sample_gives_an_empty_array(encoder: Encoder) -> None:
    assert embed_samples(encoder, []).shape == (0, 3584)
    assert pattern_maps(encoder, []).shape == (0, 6, 8, 3)
