"""Which models are refused, and why: each is really run, in a process of its own."""

import dataclasses
import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from model.artifact import MANIFEST_NAME
from model.preprocessing import PreprocessingConfig
from service.errors import InvalidArtifactError, ShuttingDownError
from service.refresh.verification import Trials, verify_artifact
from tests.service.fakes import CONFIG
from tests.service.refresh.bad_artifacts import (
    endless,
    ends_the_process,
    not_a_number,
    of_the_batch,
    write_model,
)


@pytest.fixture
def trials() -> Trials:
    return Trials(provider="cpu", timeout_s=60)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "model"


def refusal(directory: Path, trials: Trials) -> str:
    with pytest.raises(InvalidArtifactError) as caught:
        verify_artifact(directory, trials)
    assert str(directory) not in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def change_manifest(directory: Path, **changes: object) -> None:
    path = directory / MANIFEST_NAME
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_sound_model_is_accepted(directory: Path, trials: Trials) -> None:
    written = write_model(directory)
    assert verify_artifact(directory, trials) == dataclasses.replace(written, directory=directory)


@pytest.mark.parametrize("length", [0, 100])
def test_a_truncated_graph(directory: Path, trials: Trials, length: int) -> None:
    graph = write_model(directory).onnx_path
    graph.write_bytes(graph.read_bytes()[:length])
    assert "model.onnx does not match its manifest: expected sha256" in refusal(directory, trials)


def test_a_flipped_byte(directory: Path, trials: Trials) -> None:
    graph = write_model(directory).onnx_path
    content = bytearray(graph.read_bytes())
    content[len(content) // 2] ^= 1
    graph.write_bytes(content)
    assert "model.onnx does not match its manifest" in refusal(directory, trials)


def test_the_manifest_of_another_model(directory: Path, trials: Trials, tmp_path: Path) -> None:
    write_model(directory)
    other = write_model(tmp_path / "other", little=0.02)
    (directory / MANIFEST_NAME).write_bytes((other.directory / MANIFEST_NAME).read_bytes())
    assert "model.onnx does not match its manifest" in refusal(directory, trials)


def test_a_manifest_that_was_changed(directory: Path, trials: Trials) -> None:
    write_model(directory)
    changed = PreprocessingConfig(mean=(0.5, 0.5, 0.5)).model_dump(mode="json")
    change_manifest(directory, preprocessing=changed)
    assert "manifest.json was changed" in refusal(directory, trials)


def test_preprocessing_that_this_version_does_not_know(directory: Path, trials: Trials) -> None:
    write_model(directory)
    known = PreprocessingConfig().model_dump(mode="json")
    change_manifest(directory, preprocessing=known | {"tone_mapping": "depth-v9"})
    assert "preprocessing.tone_mapping" in refusal(directory, trials)
    change_manifest(directory, preprocessing=known | {"gamma": 2.2})
    assert "preprocessing.gamma" in refusal(directory, trials)


def test_preprocessing_for_values_up_to_255(directory: Path, trials: Trials) -> None:
    of_bytes = PreprocessingConfig(mean=(123.7, 116.3, 103.5), std=(58.4, 57.1, 57.4))
    write_model(directory, preprocessing=of_bytes)
    message = "preprocessing: expected a mean of RGB values from 0 to 1, came (123.7, 116.3, 103.5)"
    assert refusal(directory, trials) == message


def test_a_std_of_zero(directory: Path, trials: Trials) -> None:
    write_model(directory, preprocessing=PreprocessingConfig(std=(0.2, 0.0, 0.2)))
    assert refusal(directory, trials).startswith("preprocessing: expected a std")


def test_no_graph_at_all(directory: Path, trials: Trials) -> None:
    write_model(directory).onnx_path.unlink()
    assert "expected a graph at model.onnx" in refusal(directory, trials)


def test_a_file_that_the_hash_says_nothing_of(directory: Path, trials: Trials) -> None:
    write_model(directory)
    (directory / "weights.bin").write_bytes(b"1")
    message = "expected model.onnx and manifest.json alone, came also weights.bin"
    assert refusal(directory, trials) == message


def test_a_graph_that_declares_another_dimension(directory: Path, trials: Trials) -> None:
    write_model(directory, declared_dim=64)
    assert "model.onnx: expected inputs and outputs" in refusal(directory, trials)


def test_a_graph_that_declares_a_dimension_and_makes_another(
    directory: Path, trials: Trials
) -> None:
    shorter = CONFIG.model_copy(update={"projected_dim": 64})
    write_model(directory, config=shorter, declared_dim=64)
    assert "embedding: expected float32 (2, 64), came float32 (2, 3072)" in refusal(
        directory, trials
    )


@pytest.mark.parametrize(
    ("nodes", "reason"),
    [(not_a_number, "not finite"), (of_the_batch, "an image to embed alike alone and beside")],
)
def test_what_comes_out_cannot_be_used(
    directory: Path, trials: Trials, nodes: Callable[[], list[object]], reason: str
) -> None:
    write_model(directory, before=nodes)  # type: ignore[arg-type]
    assert reason in refusal(directory, trials)


def test_embeddings_that_are_not_normalised(directory: Path, trials: Trials) -> None:
    write_model(directory, normalised=False)
    assert "expected embeddings of length 1, came" in refusal(directory, trials)


def test_pattern_maps_beyond_one(directory: Path, trials: Trials) -> None:
    write_model(directory, scale=100)
    assert "expected pattern_maps from 0 to 1, came" in refusal(directory, trials)


def test_a_graph_that_takes_one_image_alone(directory: Path, trials: Trials) -> None:
    write_model(directory, batch=1)
    assert "failed on 2 images" in refusal(directory, trials)


def test_a_graph_that_ends_its_process(directory: Path, trials: Trials) -> None:
    write_model(directory, before=ends_the_process)
    assert refusal(directory, trials) == (
        "the model ended the process that ran it (SIGFPE): it would end the service too"
    )


def test_a_graph_that_comes_to_no_end(directory: Path) -> None:
    write_model(directory, before=endless)
    slow = refusal(directory, Trials(provider="cpu", timeout_s=3))
    assert slow == "the model had not embedded three images after 3 s"


def test_a_model_too_slow_for_queries(directory: Path) -> None:
    write_model(directory)
    hurried = Trials(provider="cpu", timeout_s=60, max_crop_s=0)
    assert "expected a crop in 0 s at most, one took" in refusal(directory, hurried)


def test_a_provider_that_is_not_there(directory: Path) -> None:
    write_model(directory)
    assert "'abacus'" in refusal(directory, Trials(provider="abacus", timeout_s=60))


def test_a_trial_is_ended_when_the_service_stops(directory: Path) -> None:
    write_model(directory, before=endless)
    trials = Trials(provider="cpu", timeout_s=60)
    outcome: list[Exception] = []

    def verify() -> None:
        try:
            verify_artifact(directory, trials)
        except Exception as error:
            outcome.append(error)

    thread = threading.Thread(target=verify)
    thread.start()
    trials.stop()  # whether it has begun by now or not
    thread.join(30)
    assert [type(error) for error in outcome] == [ShuttingDownError]
