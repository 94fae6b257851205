"""The encoder gives what the network gives, from any thread, and refuses what it cannot read."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from model.artifact import ModelArtifact, write_artifact
from model.encoder import Encoder
from model.errors import ArtifactError, ProviderError
from model.network.mpanet import MPANet
from model.preprocessing import to_input

needs_openvino = pytest.mark.skipif(
    "OpenVINOExecutionProvider" not in onnxruntime.get_available_providers(),
    reason="the installed ONNX Runtime has no OpenVINO provider",
)


@pytest.fixture(scope="module")
def encoder(small_artifact: ModelArtifact) -> Iterator[Encoder]:
    with Encoder.open(small_artifact, provider="cpu") as encoder:
        yield encoder


def some_images(count: int, seed: int = 0) -> NDArray[np.float32]:
    generator = np.random.default_rng(seed)
    return generator.standard_normal((count, 3, 64, 32)).astype(np.float32)


def torch_embedding(network: MPANet, images: NDArray[np.float32]) -> NDArray[np.float32]:
    with torch.inference_mode():
        embedding = network(torch.from_numpy(images)).embedding.numpy()
    normalised: NDArray[np.float32] = embedding / np.linalg.norm(embedding, axis=1, keepdims=True)
    return normalised


@pytest.mark.parametrize("count", [1, 3, 40])
def test_encoder_agrees_with_the_network_at_any_batch_size(
    encoder: Encoder, small_network: MPANet, count: int
) -> None:
    images = some_images(count)
    encoded = encoder.encode(images)
    expected = torch_embedding(small_network, images)
    np.testing.assert_allclose(encoded.embedding, expected, atol=1e-5)
    assert encoded.embedding.dtype == encoded.pattern_maps.dtype == np.float32
    assert encoded.pattern_maps.shape == (count, 2, 4, 2)
    assert encoder.embedding_dim == encoded.embedding.shape[1] == 3 * 512


@needs_openvino
@pytest.mark.parametrize("precision", [None, "fp32"])
def test_openvino_agrees_with_the_network(
    small_artifact: ModelArtifact, small_network: MPANet, precision: str | None
) -> None:
    images = some_images(4)
    with Encoder.open(small_artifact, provider="openvino", precision=precision) as encoder:
        assert encoder.provider == "openvino"
        embedding = encoder.encode(images).embedding
    cosines = (embedding * torch_embedding(small_network, images)).sum(1)
    assert cosines.min() > (0.999999 if encoder.precision == "fp32" else 0.999)


def test_an_empty_batch_is_an_empty_answer(encoder: Encoder) -> None:
    encoded = encoder.encode(some_images(0))
    assert encoded.embedding.shape == (0, 1536)
    assert encoded.pattern_maps.shape == (0, 2, 4, 2)


def test_prepare_uses_the_preprocessing_of_the_artifact(
    encoder: Encoder, small_artifact: ModelArtifact
) -> None:
    image = Image.new("RGB", (50, 100), (10, 200, 30))
    expected = to_input(image, (64, 32), small_artifact.preprocessing)
    np.testing.assert_array_equal(encoder.prepare(image), expected)


def test_encoding_from_many_threads_gives_each_its_own(encoder: Encoder) -> None:
    batches = [some_images(2, seed) for seed in range(12)]
    expected = [encoder.encode(batch).embedding for batch in batches]
    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(encoder.encode, batches))
    for result, answer in zip(results, expected, strict=True):
        np.testing.assert_allclose(result.embedding, answer, atol=1e-6)


def test_async_encoding_leaves_the_event_loop_free(encoder: Encoder) -> None:
    release = threading.Event()
    encoder._worker.submit(release.wait)  # the worker is busy; the loop must not be

    async def encode_while_the_loop_turns() -> NDArray[np.float32]:
        task = asyncio.create_task(encoder.encode_async(some_images(1)))
        for _ in range(10):
            await asyncio.sleep(0)
        assert not task.done()
        release.set()
        return (await task).embedding

    embedding = asyncio.run(encode_while_the_loop_turns())
    np.testing.assert_allclose(embedding, encoder.encode(some_images(1)).embedding, atol=1e-6)


def test_images_of_another_shape_or_kind_are_refused(encoder: Encoder) -> None:
    good = some_images(1)
    cases: list[tuple[NDArray[np.float32], str]] = [
        (good[0], r"expected images of shape \(N, 3, 64, 32\), got \(3, 64, 32\)"),
        (good[:, :, :, :16], r"got \(1, 3, 64, 16\)"),
        (good.astype(np.float64), "expected float32 images, got float64"),
        (np.full_like(good, np.nan), "NaN or infinity"),
    ]
    for images, complaint in cases:
        with pytest.raises(ValueError, match=complaint):
            encoder.encode(images)


def test_a_closed_encoder_says_so(small_artifact: ModelArtifact) -> None:
    encoder = Encoder.open(small_artifact.directory, provider="cpu", warm_batch_sizes=())
    assert encoder.model_id == small_artifact.model_id
    encoder.close()
    encoder.close()
    with pytest.raises(ProviderError, match="is closed"):
        encoder.encode(some_images(1))


def test_a_graph_of_another_shape_than_its_manifest_is_refused(
    small_artifact: ModelArtifact, tmp_path: Path
) -> None:
    other = write_artifact(
        tmp_path / "model",
        small_artifact.onnx_path.read_bytes(),
        config=small_artifact.config.model_copy(update={"image_size": (96, 32)}),
        preprocessing=small_artifact.preprocessing,
    )
    with pytest.raises(ArtifactError, match=r"model\.onnx: expected inputs and outputs"):
        Encoder.open(other, provider="cpu")


def test_a_file_that_is_no_graph_is_refused(small_artifact: ModelArtifact, tmp_path: Path) -> None:
    broken = write_artifact(
        tmp_path / "model",
        b"not a graph",
        config=small_artifact.config,
        preprocessing=small_artifact.preprocessing,
    )
    with pytest.raises(ProviderError, match=r"provider cpu cannot run .*model\.onnx"):
        Encoder.open(broken, provider="cpu")


def test_a_missing_provider_is_an_error_that_names_those_there(
    small_artifact: ModelArtifact,
) -> None:
    with pytest.raises(ProviderError, match=r"\(auto, .*cpu\), got 'npu'"):
        Encoder.open(replace(small_artifact), provider="npu")
