"""A service over a tiny encoder and a real gallery, spoken to without sockets."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from gallery_index.gallery import Gallery
from service.app import create_app
from service.settings import ServiceSettings
from tests.service.asgi import AppTransport, running
from tests.service.fakes import CONFIG, MODEL_ID, TinyEncoder


@pytest.fixture
def settings(tmp_path: Path) -> ServiceSettings:
    return ServiceSettings(
        model=tmp_path / "model",
        data=tmp_path / "data",
        max_upload_bytes=200_000,
        max_request_bytes=1_000_000,
        max_pixels=100_000,
        max_files=8,
        max_queue=32,
    )


@pytest.fixture
def encoder() -> TinyEncoder:
    return TinyEncoder()


@pytest.fixture
def gallery(settings: ServiceSettings) -> Iterator[Gallery]:
    gallery = Gallery.open(settings.data, model_id=MODEL_ID, embedding_dim=CONFIG.embedding_dim)
    yield gallery
    gallery.close()


@pytest.fixture
def transport(
    settings: ServiceSettings, encoder: TinyEncoder, gallery: Gallery
) -> Iterator[AppTransport]:
    with running(create_app(settings, encoder, gallery)) as transport:
        yield transport


@pytest.fixture
def http(transport: AppTransport) -> Iterator[httpx.Client]:
    with httpx.Client(transport=transport, base_url="http://service") as client:
        yield client
