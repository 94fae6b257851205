"""Which model a service answers with from its start on, and what it says when it cannot start."""

import logging
import shutil
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from gallery_index.gallery import Gallery
from model.artifact import ONNX_NAME, ModelArtifact, with_calibration
from service.bodies.model_bodies import model_body
from service.errors import InvalidArtifactError, ModelNotFoundError
from service.opening import (
    StartError,
    model_opener,
    open_gallery,
    open_other,
    open_registry,
    open_served,
    read_named,
)
from service.refresh.registry import ModelRegistry
from service.refresh.served import ServedModel
from service.settings import ServiceSettings
from tests.service.judged import measured
from tests.service.refresh.bad_artifacts import write_model
from tests.service.tiny_artifact import write_tiny_artifact

DIM = 3 * 32 * 32
MEASURED = measured().to_manifest()


@pytest.fixture
def named(tmp_path: Path) -> ModelArtifact:
    """The model that `--model` names."""
    return write_tiny_artifact(tmp_path / "named")


@pytest.fixture
def other(tmp_path: Path) -> ModelArtifact:
    """Another model of the same dimension."""
    return write_model(tmp_path / "other", little=0.5)


@pytest.fixture
def settings(tmp_path: Path, named: ModelArtifact) -> ServiceSettings:
    return ServiceSettings(model=named.directory, data=tmp_path / "data", provider="cpu")


@pytest.fixture
def registry(settings: ServiceSettings) -> ModelRegistry:
    return open_registry(settings)


def answering(settings: ServiceSettings, registry: ModelRegistry) -> ServedModel:
    """Return the model that answers, closed already: its encoder is not for use here."""
    model = open_served(settings, registry, read_named(settings))
    model.close()
    return model


def switched(settings: ServiceSettings, first: ModelArtifact, then: ModelArtifact) -> None:
    """Leave a gallery that was made with one model and is searched with another."""
    gallery = Gallery.open(settings.data, model_id=first.model_id, embedding_dim=DIM)
    with closing(gallery):
        gallery.begin_refresh(then.model_id, DIM)
        gallery.switch(lambda crops: [])


def test_a_new_gallery_is_of_the_model_that_is_named(
    settings: ServiceSettings, registry: ModelRegistry, named: ModelArtifact
) -> None:
    model = answering(settings, registry)
    with closing(open_gallery(settings, model.encoder)) as gallery:
        assert gallery.model_id == model.model_id == named.model_id


def test_the_model_that_is_named_is_among_those_of_the_service(
    settings: ServiceSettings, registry: ModelRegistry, named: ModelArtifact
) -> None:
    answering(settings, registry)
    answering(settings, registry)
    [model] = registry.list()
    assert (model.model_id, model.published_by) == (named.model_id, "--model")
    assert model.artifact.directory.parent == settings.data / "models"


def test_the_model_of_a_gallery_that_was_switched_answers_whatever_is_named(
    settings: ServiceSettings,
    registry: ModelRegistry,
    named: ModelArtifact,
    other: ModelArtifact,
    caplog: pytest.LogCaptureFixture,
) -> None:
    registry.take_in(other.directory, by="ann")
    switched(settings, named, other)
    with caplog.at_level(logging.INFO, "service.opening"):
        model = answering(settings, registry)
    assert model.model_id == other.model_id
    with closing(open_gallery(settings, model.encoder)) as gallery:
        assert gallery.model_id == other.model_id
    [line] = caplog.messages
    assert other.model_id in line
    assert named.model_id in line


def test_a_gallery_that_went_back_is_served_with_its_first_model(
    settings: ServiceSettings, registry: ModelRegistry, named: ModelArtifact, other: ModelArtifact
) -> None:
    registry.take_in(named.directory, by="ann")
    switched(settings, named, other)
    with closing(
        Gallery.open(settings.data, model_id=other.model_id, embedding_dim=DIM)
    ) as gallery:
        gallery.switch(lambda crops: [])
    now = settings.model_copy(update={"model": other.directory})
    assert answering(now, registry).model_id == named.model_id


def test_a_gallery_of_a_model_that_nobody_has_is_not_opened(
    settings: ServiceSettings, registry: ModelRegistry, named: ModelArtifact, other: ModelArtifact
) -> None:
    switched(settings, named, other)
    with pytest.raises(StartError) as refused:
        answering(settings, registry)
    message = str(refused.value)
    assert "\n" not in message
    for expected in (settings.data, other.model_id, named.model_id, settings.data / "models"):
        assert str(expected) in message


def test_a_directory_that_is_no_model_is_named(
    settings: ServiceSettings, registry: ModelRegistry, named: ModelArtifact
) -> None:
    (named.directory / ONNX_NAME).write_bytes(b"rotten")
    with pytest.raises(StartError, match=r"named/model\.onnx does not match its manifest"):
        answering(settings, registry)
    assert registry.list() == []


def test_a_damaged_pointer_stops_the_start(
    settings: ServiceSettings, registry: ModelRegistry, named: ModelArtifact, other: ModelArtifact
) -> None:
    registry.take_in(other.directory, by="ann")
    switched(settings, named, other)
    pointer = settings.data / "generation.json"
    pointer.write_bytes(pointer.read_bytes()[:-2])
    with pytest.raises(StartError, match=r"generation\.json fails its checksum"):
        answering(settings, registry)


def test_a_calibration_made_since_the_first_start_is_taken_over(
    settings: ServiceSettings, registry: ModelRegistry, named: ModelArtifact
) -> None:
    assert answering(settings, registry).calibration is None
    with_calibration(named.directory, MEASURED)
    assert answering(settings, registry).calibration == measured()


def test_a_calibration_that_the_service_has_made_stays(
    settings: ServiceSettings, registry: ModelRegistry, named: ModelArtifact
) -> None:
    with_calibration(named.directory, MEASURED)
    answering(settings, registry)
    of_the_gallery = measured(0.05)
    registry.recalibrate(named.model_id, of_the_gallery.to_manifest())
    assert answering(settings, registry).calibration == of_the_gallery


def test_a_calibration_that_cannot_be_read_is_none_and_one_line_in_the_log(
    settings: ServiceSettings,
    registry: ModelRegistry,
    named: ModelArtifact,
    caplog: pytest.LogCaptureFixture,
) -> None:
    damaged = {**MEASURED, "kinds": {"visible-visible": {"persons": 1}}}
    with_calibration(named.directory, damaged)
    model = answering(settings, registry)
    assert model.calibration is None
    [line] = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert named.model_id in line
    assert "kinds.visible-visible" in line
    shown = model_body(named.model_id, "active", served=model, registered=None)
    assert shown.calibration is None


def test_a_model_that_the_registry_has_is_opened_by_its_id(
    settings: ServiceSettings, registry: ModelRegistry, other: ModelArtifact
) -> None:
    registry.take_in(other.directory, by="ann")
    model = model_opener(settings, registry)(other.model_id)
    images = np.zeros((2, 3, 32, 32), np.float32)
    assert model.encoder.encode(images).embedding.shape == (2, DIM)
    model.close()
    model.close()


def test_a_model_that_cannot_be_opened_is_refused(
    settings: ServiceSettings, registry: ModelRegistry, tmp_path: Path
) -> None:
    open_model = model_opener(settings, registry)
    with pytest.raises(ModelNotFoundError):
        open_model("unknown")
    wrong = write_model(tmp_path / "wrong", declared_dim=100)
    shutil.copytree(wrong.directory, settings.data / "models" / "by-hand")
    with pytest.raises(InvalidArtifactError, match="embedding"):
        open_model(wrong.model_id)


def test_the_model_of_a_kept_generation_is_open_from_the_start_where_crops_are_not_kept(
    settings: ServiceSettings, registry: ModelRegistry, named: ModelArtifact, other: ModelArtifact
) -> None:
    registry.take_in(named.directory, by="ann")
    registry.take_in(other.directory, by="ann")
    switched(settings, named, other)
    open_model = model_opener(settings, registry)
    without_crops = settings.model_copy(update={"store_crops": False})
    with closing(open_gallery(settings, answering(settings, registry).encoder)) as gallery:
        assert open_other(settings, gallery, open_model) is None
        kept = open_other(without_crops, gallery, open_model)
        assert kept is not None
        assert kept.model_id == named.model_id
        kept.close()
        shutil.rmtree(settings.data / "models" / named.model_id)
        assert open_other(without_crops, gallery, open_model) is None
