"""A service over a tiny encoder and a real gallery, spoken to without sockets."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from gallery_index.gallery import Gallery
from service.app import create_app
from service.audit.log import AuditLog
from service.refresh.served import ServedModel
from service.settings import ServiceSettings
from tests.service.asgi import AppTransport, running
from tests.service.fakes import CONFIG, MODEL_ID, TinyEncoder, crop
from tests.service.judged import measured


def small_settings(directory: Path) -> ServiceSettings:
    return ServiceSettings(
        model=directory / "model",
        data=directory / "data",
        max_upload_bytes=200_000,
        max_request_bytes=1_000_000,
        max_pixels=100_000,
        max_files=8,
        max_queue=32,
        max_batch_s=60,
    )


@contextmanager
def open_gallery(settings: ServiceSettings) -> Iterator[Gallery]:
    gallery = Gallery.open(settings.data, model_id=MODEL_ID, embedding_dim=CONFIG.embedding_dim)
    yield gallery
    gallery.close()


@pytest.fixture
def settings(tmp_path: Path) -> ServiceSettings:
    return small_settings(tmp_path)


@pytest.fixture
def encoder() -> TinyEncoder:
    return TinyEncoder()


@pytest.fixture
def gallery(settings: ServiceSettings) -> Iterator[Gallery]:
    with open_gallery(settings) as gallery:
        yield gallery


@pytest.fixture
def transport(
    settings: ServiceSettings, encoder: TinyEncoder, gallery: Gallery
) -> Iterator[AppTransport]:
    with running(create_app(settings, encoder, gallery)) as transport:
        yield transport


@pytest.fixture
def http(transport: AppTransport) -> Iterator[httpx.Client]:
    with httpx.Client(transport=transport, base_url="http://localhost") as client:
        yield client


@pytest.fixture(scope="module")
def shared_http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A service for tests that leave its gallery as it was: empty."""
    settings = small_settings(tmp_path_factory.mktemp("shared"))
    with (
        open_gallery(settings) as gallery,
        running(create_app(settings, TinyEncoder(), gallery)) as transport,
        httpx.Client(transport=transport, base_url="http://localhost") as client,
    ):
        yield client
        assert len(gallery) == 0


@pytest.fixture
def busy_http(
    settings: ServiceSettings, gallery: Gallery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[httpx.Client]:
    """A service that has done and knows everything that it can say something of."""
    log = AuditLog.open(tmp_path / "audit", keep_days=1)
    monkeypatch.setattr("service.observing.score_drift.LEAST", 1)
    model = ServedModel(TinyEncoder(), calibration=measured())
    with (
        running(create_app(settings, model, gallery, audit=log)) as transport,
        httpx.Client(transport=transport, base_url="http://localhost") as http,
    ):
        visible = {"modality": "visible"}
        http.post("/gallery", files={"file": crop(1)}, data=visible)
        http.post("/query", files={"file": crop(1)}, data={**visible, "rerank": "true"})
        http.post("/embed", files={"file": crop(1)}, data=visible)
        http.post("/gallery", files={"file": b"x"}, data=visible)
        now = datetime.now(UTC)
        known = replace(
            gallery.stats(), recall_at_10=1.0, recall_measured_at=now, snapshot_age_s=1.0
        )
        monkeypatch.setattr(gallery, "stats", lambda: known)
        yield http
    log.close()
