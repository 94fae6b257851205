"""What travels between a shared gallery and Qdrant over gRPC, and what an outage of it is."""

import os
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from qdrant_client import grpc as messages

from gallery_index.errors import GalleryMismatchError, StoreUnavailableError
from gallery_index.records import EntryChanges, EntryFilter
from gallery_index.shared.gallery import SharedGallery
from tests.gallery_index.places import DIM, MODEL, enrolled, ids, new, vector
from tests.gallery_index.qdrant_over_grpc import QdrantOverGrpc
from tests.redis_server import RedisServer

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


def opened(redis: RedisServer, qdrant_url: str, dim: int = DIM) -> SharedGallery:
    return SharedGallery.open(
        redis_url=redis.url,
        qdrant_url=qdrant_url,
        crop_store=f"memory://{uuid.uuid4().hex}",
        model_id=MODEL,
        embedding_dim=dim,
    )


@pytest.fixture
def qdrant() -> Iterator[QdrantOverGrpc]:
    """An empty Qdrant that speaks gRPC."""
    with QdrantOverGrpc() as server:
        yield server


def live_one_life(gallery: SharedGallery) -> None:
    """Every kind of call, with answers that are known."""
    enrolled(
        gallery,
        *[
            new(seed, person_id=f"p{seed % 2}", camera_id="cam1", captured_at=NOON)
            for seed in range(6)
        ],
    )
    gallery.update("e5", EntryChanges(person_id=None, attributes={"hat": True, "n": 1.0}))
    for wanted, expected in (
        (EntryFilter(), ["e0", "e1", "e2", "e3", "e4", "e5"]),
        (EntryFilter(person_id="p1"), ["e1", "e3"]),
        (EntryFilter(person_id=("p1", "p0"), exclude_person_id="p0"), ["e1", "e3"]),
        (EntryFilter(attributes={"hat": True, "n": 1}), ["e5"]),
        (EntryFilter(captured_after=NOON, exclude_camera_id="cam2"), [f"e{n}" for n in range(6)]),
        (EntryFilter(captured_before=NOON), []),
        (EntryFilter(modality="infrared"), []),
    ):
        assert ids(gallery.list(wanted).entries) == expected
        matches = gallery.search(vector(3), top_k=9, filter=wanted)
        assert sorted(ids(matches)) == expected
        assert [m.similarity for m in matches] == sorted(
            (m.similarity for m in matches), reverse=True
        )
    assert ids(gallery.search(vector(3), top_k=1)) == ["e3"]
    gallery.delete("e0")
    assert gallery.erase_person("p1").entries == 2
    assert ids(gallery.list().entries) == ["e2", "e4", "e5"]
    report = gallery.verify()
    assert (report.problems, report.unfinished) == ([], [])
    assert (report.index_positions, report.recall_at_10) == (3, 1.0)
    assert gallery.stats().ready


def test_a_gallery_lives_over_grpc(empty_redis: RedisServer, qdrant: QdrantOverGrpc) -> None:
    gallery = opened(empty_redis, qdrant.url)
    live_one_life(gallery)
    gallery.close()


def test_the_collection_is_made_for_exact_fp16_on_disk_and_writes_are_waited_for(
    empty_redis: RedisServer, qdrant: QdrantOverGrpc
) -> None:
    gallery = opened(empty_redis, qdrant.url + "&shards=6&replicas=3")
    live_one_life(gallery)
    gallery.close()
    (made,) = [r for r in qdrant.requests if isinstance(r, messages.CreateCollection)]
    params = made.vectors_config.params
    assert (params.size, params.distance) == (DIM, messages.Distance.Dot)
    assert (params.datatype, params.on_disk) == (messages.Datatype.Float16, True)
    assert made.quantization_config.turboquant.always_ram
    assert (made.shard_number, made.replication_factor) == (6, 3)
    assert made.write_consistency_factor == 2
    indexed = {r.field_name for r in qdrant.requests if hasattr(r, "field_name")}
    assert indexed == {"person_id", "camera_id", "modality", "attributes", "captured_at"}
    writes = [
        request
        for request in qdrant.requests
        if isinstance(
            request, messages.UpsertPoints | messages.DeletePoints | messages.SetPayloadPoints
        )
    ]
    assert {type(request) for request in writes} == {
        messages.UpsertPoints,
        messages.DeletePoints,
        messages.SetPayloadPoints,
    }
    assert all(request.wait for request in writes)
    (query, *_) = [r for r in qdrant.requests if isinstance(r, messages.QueryPoints)]
    assert query.params.quantization.rescore
    assert query.params.hnsw_ef >= query.limit


def test_of_a_large_gallery_few_vectors_travel_for_a_query(
    empty_redis: RedisServer, qdrant: QdrantOverGrpc
) -> None:
    dim = 2048
    gallery = opened(empty_redis, qdrant.url, dim)
    enrolled(gallery, *[new(seed, embedding=vector(seed, dim)) for seed in range(400)])
    sent = qdrant.sent_bytes
    assert ids(gallery.search(vector(3, dim), top_k=10))[0] == "e3"
    vectors = (qdrant.sent_bytes - sent) / (4 * dim)
    assert 10 <= vectors < 40  # made-up vectors are all about as far away
    gallery.close()


def test_while_the_server_is_gone_calls_say_so_and_then_go_on(
    empty_redis: RedisServer, qdrant: QdrantOverGrpc
) -> None:
    gallery = opened(empty_redis, qdrant.url)
    enrolled(gallery, new(1), new(2))
    qdrant.stop()
    for call in (
        lambda: gallery.search(vector(1), top_k=1),
        lambda: gallery.add([new(3)]),
        lambda: gallery.delete("e1"),
    ):
        with pytest.raises(StoreUnavailableError, match=r"Qdrant at 127\.0\.0\.1:9 .*"):
            call()
    assert not gallery.stats().ready
    qdrant.start()
    deadline = time.monotonic() + 20  # by default the client would wait for up to 120 s
    while not gallery.stats().ready:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert ids(gallery.search(vector(1), top_k=5)) == ["e2"]
    gallery.upkeep()
    assert gallery.verify().unfinished == []
    (name,) = [found.name for found in qdrant.qdrant.get_collections().collections]
    qdrant.qdrant.delete_collection(name)
    with pytest.raises(GalleryMismatchError, match="lost this gallery"):
        gallery.search(vector(1), top_k=1)
    gallery.close()


def test_a_change_that_the_server_stopped_waiting_for_is_not_acknowledged(
    empty_redis: RedisServer, qdrant: QdrantOverGrpc
) -> None:
    gallery = opened(empty_redis, qdrant.url)
    enrolled(gallery, new(1))
    for status in (messages.UpdateStatus.WaitTimeout, messages.UpdateStatus.Acknowledged):
        qdrant.status = status
        with pytest.raises(StoreUnavailableError, match="not carried out"):
            gallery.add([new(2)])
    with pytest.raises(StoreUnavailableError, match="not carried out"):
        gallery.delete("e1")
    qdrant.status = messages.UpdateStatus.Completed
    assert ids(gallery.list().entries) == []
    gallery.upkeep()
    assert gallery.verify().unfinished == []
    gallery.close()


def test_a_gallery_lives_on_a_real_server(empty_redis: RedisServer) -> None:
    """MPANET_TEST_QDRANT_URL names a server; each run leaves a collection there."""
    url = os.environ.get("MPANET_TEST_QDRANT_URL")
    if not url:
        pytest.skip("MPANET_TEST_QDRANT_URL names no Qdrant server")
    gallery = opened(empty_redis, url)
    live_one_life(gallery)
    gallery.close()
