"""The registry on disk: what is listed, what a publish leaves, whoever else is at it."""

import errno
import json
import logging
import os
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gallery_index.errors import StorageFullError
from model.artifact import MANIFEST_NAME, ModelArtifact
from service.errors import InvalidArtifactError, ModelNotFoundError, QueueFullError
from service.refresh.registry import MAX_INCOMING, ModelRegistry
from service.refresh.verification import Trials, read_artifact
from tests.service.refresh.bad_artifacts import endless, ends_the_process, write_model
from tests.service.tiny_artifact import write_tiny_artifact

REGISTRY = "service.refresh.registry"


class Untried(Trials):
    """Accepts every model that matches its manifest: what is run is told in `tried`."""

    def __init__(self) -> None:
        super().__init__(provider="cpu", timeout_s=60)
        self.tried: list[Path] = []

    def run(self, directory: Path) -> None:
        self.tried.append(directory)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return tmp_path / "data" / "models"


@pytest.fixture
def trials() -> Untried:
    return Untried()


@pytest.fixture
def registry(models: Path, trials: Untried) -> ModelRegistry:
    return ModelRegistry(models, trials)


@pytest.fixture
def made(tmp_path: Path) -> ModelArtifact:
    return write_tiny_artifact(tmp_path / "made")


def ids(registry: ModelRegistry) -> list[str]:
    return [model.model_id for model in registry.list()]


def test_a_published_model_is_there_with_who_and_when(
    models: Path, made: ModelArtifact, trials: Untried
) -> None:
    registry = ModelRegistry(models, Trials(provider="cpu", timeout_s=60))
    before = datetime.now(UTC)
    published = registry.publish(made.directory, by="ann")
    assert published.model_id == made.model_id
    assert published.published_by == "ann"
    assert published.published_at is not None
    assert before <= published.published_at <= datetime.now(UTC)
    assert [path.name for path in models.iterdir()] == [made.model_id]
    again = ModelRegistry(models, trials)
    assert again.list() == [published]
    assert again.get(made.model_id) == published
    assert made.onnx_path.is_file()


def test_the_manifest_is_left_as_it_came(registry: ModelRegistry, made: ModelArtifact) -> None:
    published = registry.publish(made.directory, by="ann")
    copy, original = (
        place / MANIFEST_NAME for place in (published.artifact.directory, made.directory)
    )
    assert copy.read_bytes() == original.read_bytes()


def test_publishing_again_leaves_what_is_there(
    registry: ModelRegistry, made: ModelArtifact, trials: Untried
) -> None:
    first = registry.publish(made.directory, by="ann")
    assert registry.publish(made.directory, by="bob") == first
    assert len(trials.tried) == 1


def test_a_model_that_is_not_there(registry: ModelRegistry) -> None:
    with pytest.raises(ModelNotFoundError, match="no model 'abc'"):
        registry.get("abc")


def test_a_directory_put_there_by_hand_counts(
    registry: ModelRegistry, models: Path, made: ModelArtifact
) -> None:
    shutil.copytree(made.directory, models / "by hand")
    [found] = registry.list()
    assert found.model_id == made.model_id
    assert (found.published_at, found.published_by) == (None, None)
    assert found.artifact.directory == models / "by hand"


def test_of_two_copies_the_one_under_its_id_counts(
    registry: ModelRegistry, models: Path, made: ModelArtifact
) -> None:
    for name in ("0", made.model_id, "z"):
        shutil.copytree(made.directory, models / name)
    assert [model.artifact.directory.name for model in registry.list()] == [made.model_id]


def test_models_are_listed_the_first_made_first(
    registry: ModelRegistry, models: Path, made: ModelArtifact
) -> None:
    later = write_model(models / "a", little=0.02)
    manifest = later.directory / MANIFEST_NAME
    content = json.loads(manifest.read_text()) | {"created_at": "2099-01-01T00:00:00Z"}
    manifest.write_text(json.dumps(content))
    registry.publish(made.directory, by="ann")
    assert ids(registry) == [made.model_id, later.model_id]


def test_what_does_not_verify_is_logged_once_and_left_out(
    registry: ModelRegistry, models: Path, made: ModelArtifact, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(made.directory, models / "half")
    graph = models / "half" / "model.onnx"
    whole = graph.read_bytes()
    graph.write_bytes(whole[:-1])
    (models / "empty").mkdir()
    (models / "note.txt").write_text("not a model")
    with caplog.at_level(logging.WARNING):
        assert registry.list() == []
        assert registry.list() == []
    assert len(caplog.messages) == 2
    assert any("half is left out of the models: model.onnx" in line for line in caplog.messages)
    graph.write_bytes(whole)
    assert ids(registry) == [made.model_id]


def test_a_model_is_read_again_only_when_its_files_change(
    registry: ModelRegistry, models: Path, made: ModelArtifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[Path] = []

    def counted(directory: Path) -> ModelArtifact:
        reads.append(directory)
        return read_artifact(directory)

    monkeypatch.setattr(f"{REGISTRY}.read_artifact", counted)
    shutil.copytree(made.directory, models / "m")
    registry.list()
    registry.list()
    assert len(reads) == 1
    os.utime(models / "m" / "model.onnx", ns=(0, 1))
    registry.list()
    assert len(reads) == 2
    shutil.rmtree(models / "m")
    assert registry.list() == []


def test_a_model_is_run_again_before_it_is_opened(
    registry: ModelRegistry, models: Path, made: ModelArtifact, trials: Untried
) -> None:
    shutil.copytree(made.directory, models / "m")
    assert registry.checked(made.model_id).model_id == made.model_id
    assert trials.tried == [models / "m"]


def test_rot_under_the_same_size_and_time_is_found_before_it_is_opened(
    registry: ModelRegistry, made: ModelArtifact
) -> None:
    graph = registry.publish(made.directory, by="ann").artifact.onnx_path
    times = graph.stat()
    with graph.open("r+b") as file:
        file.write(b"\xff")
    os.utime(graph, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert ids(registry) == [made.model_id]
    with pytest.raises(InvalidArtifactError, match="does not match its manifest"):
        registry.checked(made.model_id)


def test_a_damaged_model_is_replaced_when_it_is_published_again(
    registry: ModelRegistry, models: Path, made: ModelArtifact
) -> None:
    graph = registry.publish(made.directory, by="ann").artifact.onnx_path
    graph.write_bytes(b"rot")
    assert registry.list() == []
    assert registry.publish(made.directory, by="bob").published_by == "bob"
    assert [path.name for path in models.iterdir()] == [made.model_id]


def test_a_model_taken_in_is_not_run(
    registry: ModelRegistry, made: ModelArtifact, trials: Untried
) -> None:
    assert registry.take_in(made.directory, by="start").published_by == "start"
    assert registry.take_in(made.directory, by="later").published_by == "start"
    assert trials.tried == []


def test_another_calibration_leaves_the_model_what_it_is(
    registry: ModelRegistry, models: Path, made: ModelArtifact
) -> None:
    before = registry.publish(made.directory, by="ann")
    after = registry.recalibrate(made.model_id, {"visible-visible": {"genuine": 3}})
    assert after.artifact.manifest.calibration == {"visible-visible": {"genuine": 3}}
    assert registry.list() == [after]
    assert (after.model_id, after.published_by) == (before.model_id, "ann")
    assert ModelRegistry(models, Untried()).list() == [after]
    assert registry.recalibrate(made.model_id, None) == before


def test_a_calibration_that_finds_no_room_changes_nothing(
    registry: ModelRegistry, made: ModelArtifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = registry.publish(made.directory, by="ann")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("model.durable_files.os.fsync", full)
    with pytest.raises(StorageFullError, match="No space left"):
        registry.recalibrate(made.model_id, {})
    assert registry.list() == [before]


def test_a_refused_model_leaves_nothing(models: Path, tmp_path: Path) -> None:
    registry = ModelRegistry(models, Trials(provider="cpu", timeout_s=60))
    bad = write_model(tmp_path / "bad", before=ends_the_process)
    with pytest.raises(InvalidArtifactError, match="SIGFPE"):
        registry.publish(bad.directory, by="ann")
    assert list(models.iterdir()) == []


@pytest.mark.parametrize("call", ["shutil.copyfile", "write_synced", "sync_directory"])
def test_a_full_disk_leaves_nothing(
    registry: ModelRegistry,
    models: Path,
    made: ModelArtifact,
    monkeypatch: pytest.MonkeyPatch,
    call: str,
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(f"{REGISTRY}.{call}", full)
        with pytest.raises(StorageFullError, match="No space left"):
            registry.publish(made.directory, by="ann")
    assert list(models.iterdir()) == []
    assert registry.publish(made.directory, by="ann").model_id == made.model_id


def test_the_same_model_published_at_once_is_there_once(
    registry: ModelRegistry, models: Path, made: ModelArtifact
) -> None:
    with ThreadPoolExecutor(MAX_INCOMING) as pool:
        names = [f"caller {number}" for number in range(MAX_INCOMING)]
        published = list(pool.map(lambda by: registry.publish(made.directory, by=by), names))
    assert published == [published[0]] * MAX_INCOMING
    assert [path.name for path in models.iterdir()] == [made.model_id]


def test_two_services_publish_into_one_directory(models: Path, made: ModelArtifact) -> None:
    """The other one is through while this one verifies."""

    class Overtaken(Untried):
        def run(self, directory: Path) -> None:
            ModelRegistry(models, Untried()).publish(made.directory, by="other")

    registry = ModelRegistry(models, Overtaken())
    assert registry.publish(made.directory, by="this").published_by == "other"
    assert [path.name for path in models.iterdir()] == [made.model_id]


def test_no_more_models_come_in_at_once_than_may(registry: ModelRegistry, models: Path) -> None:
    with pytest.raises(QueueFullError) as caught:
        _nested(registry, MAX_INCOMING + 1)
    assert caught.value.retry_after_s == 10
    assert list(models.iterdir()) == []


def _nested(registry: ModelRegistry, count: int) -> None:
    if count:
        with registry.incoming():
            _nested(registry, count - 1)


def test_what_another_registry_is_filling_is_left_alone(
    registry: ModelRegistry, models: Path
) -> None:
    with registry.incoming() as place:
        ModelRegistry(models, Untried())
        assert place.is_dir()


@pytest.fixture
def killed(models: Path, tmp_path: Path) -> None:
    """A process was killed while it verified a model."""
    endless_model = write_model(tmp_path / "endless", before=endless)
    program = [sys.executable, "-m", "tests.service.refresh.publishing_process"]
    process = subprocess.Popen([*program, str(models), str(endless_model.directory)])
    try:
        while not any(models.glob(".incoming-*/manifest.json")):
            assert process.poll() is None
            threading.Event().wait(0.02)
    finally:
        process.kill()
        process.wait()


@pytest.mark.usefixtures("killed")
def test_a_killed_publish_is_nothing_after_the_next_start(
    models: Path, made: ModelArtifact, tmp_path: Path
) -> None:
    assert len(list(models.glob(".incoming-*"))) == 1
    registry = ModelRegistry(models, Untried())
    assert list(models.iterdir()) == []
    assert registry.list() == []
    assert registry.publish(made.directory, by="ann").model_id == made.model_id
