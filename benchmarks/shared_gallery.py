"""What an entry of a shared gallery takes: in Redis, on the wire, and in Qdrant's engine.

Redis is a real server of its own; entries have ids of 32 characters, a camera, a time and one of
`persons` persons. The wire is what qdrant-client packs and unpacks over gRPC. Qdrant's engine is
that of the server, as the package `qdrant-edge-py` embeds it (not among our extras; without it that
part is left out), with the collection's own settings; vectors are random people in 200 of the
dimensions and noise in all.

    pip install --constraint constraints.txt '.[cpu,dev]' qdrant-edge-py==0.9.0
    python -m benchmarks.shared_gallery --json shared_gallery.json
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qdrant_client import models
from qdrant_client.conversions.conversion import GrpcToRest, RestToGrpc

from gallery_index.records import GalleryEntry, GalleryIdentity
from gallery_index.shared.qdrant_filters import payload_of
from gallery_index.shared.records import SharedRecords
from tests.redis_server import RedisServer

CROPS_A_PERSON = 100
NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, write JSON."""
    args = parse(argv)
    result: dict[str, Any] = {"entries": args.entries, "points": args.points, "dims": args.dims}
    with tempfile.TemporaryDirectory() as directory:
        result["redis"] = in_redis(args.entries, Path(directory))
        result["wire"] = on_the_wire(args.dims)
        result["engine"] = in_the_engine(args.points, args.dims, Path(directory) / "engine")
    for part in ("redis", "wire", "engine"):
        print(part)
        for name, value in (result[part] or {"not installed": "qdrant-edge-py"}).items():
            print(f"  {name:34} {value}")
    if args.json:
        args.json.write_text(json.dumps(result, indent=2) + "\n")
    return 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--entries", type=int, default=200_000, help="records in Redis")
    parser.add_argument("--points", type=int, default=6_000, help="vectors in Qdrant's engine")
    parser.add_argument("--dims", type=int, default=14_336)
    parser.add_argument("--json", type=Path)
    return parser.parse_args(argv)


def entry(row: int) -> GalleryEntry:
    """An entry as the service makes it."""
    return GalleryEntry(
        entry_id=f"{row:032x}",
        person_id=f"person-{row // CROPS_A_PERSON:08d}",
        camera_id=f"camera-{row % 64:02d}",
        modality="visible" if row % 2 else "infrared",
        captured_at=NOON + timedelta(seconds=row),
        attributes={},
        model_id="0123456789abcdef",
        crop_sha256=f"{row:064x}",
        media_type="image/jpeg",
        enrolled_at=NOON,
        row=row,
    )


def in_redis(entries: int, directory: Path) -> dict[str, Any]:
    """Bytes an entry in memory and in the log, and the time of the transactions."""
    with RedisServer(directory) as server:
        records = SharedRecords(server.url)
        records.settle_identity(GalleryIdentity("0" * 32, "m", 16, "shared"))
        empty = used_memory(records)
        enrolling = 0.0
        for rows in parts(entries, 256):
            records.reserve(len(rows))
            some = [entry(row) for row in rows]
            enrolling += seconds(lambda some=some: records.enrol(some))  # type: ignore[misc]
        memory = used_memory(records) - empty
        log = sum(path.stat().st_size for path in directory.rglob("*.aof*"))
        rows = np.random.default_rng(0).integers(0, entries, (200, 300)).tolist()
        reading = [seconds(lambda some=some: records.at(some)) for some in rows]  # type: ignore[misc]
        single = [entry(entries + number) for number in range(200)]
        records.reserve(len(single))
        alone = [seconds(lambda one=one: records.enrol([one])) for one in single]  # type: ignore[misc]
        records.close()
    return {
        "memory_bytes_an_entry": round(memory / entries),
        "log_bytes_an_entry": round(log / entries),
        "enrolled_a_second_in_256s": round(entries / enrolling),
        "one_enrolment_ms": milliseconds(alone),
        "300_records_read_ms": milliseconds(reading),
    }


def on_the_wire(dims: int) -> dict[str, Any]:
    """Bytes and processor time of one point over gRPC."""
    vector = people(1, dims)[0]
    values = vector.astype(np.float32).tolist()
    point = models.PointStruct(id=1, vector=values, payload={})
    packed = RestToGrpc.convert_point_struct(point).SerializeToString()
    record = models.Record(id=1, vector=values, payload={"vector_crc32": 1})
    answer = RestToGrpc.convert_record(record)

    def pack() -> None:
        values = vector.astype(np.float32).tolist()
        RestToGrpc.convert_point_struct(
            models.PointStruct(id=1, vector=values, payload=payload_of(entry(1)))
        ).SerializeToString()

    def unpack() -> None:
        found = GrpcToRest.convert_retrieved_point(answer)
        np.asarray(found.vector, np.float32).astype(np.float16)

    return {
        "bytes_a_vector": len(packed),
        "pack_a_vector_ms": milliseconds([seconds(pack) for _ in range(50)]),
        "unpack_a_vector_ms": milliseconds([seconds(unpack) for _ in range(50)]),
    }


def in_the_engine(points: int, dims: int, directory: Path) -> dict[str, Any] | None:
    """Bytes a vector in Qdrant's files, and how its searches do with our settings."""
    try:
        import qdrant_edge as edge
    except ImportError:
        return None
    vectors = people(points, dims)
    directory.mkdir()
    shard = edge.EdgeShard.create(str(directory), collection(edge, dims))
    for rows in parts(points, 128):
        upsert = [
            edge.Point(row, vectors[row].astype(np.float32).tolist(), said(row)) for row in rows
        ]
        shard.update(edge.UpdateOperation.upsert_points(upsert))
    building = seconds(shard.optimize)
    shard.flush()
    result = {
        **{
            f"{what}_bytes_a_vector": round(size(directory, pattern) / points, 1)
            for what, pattern in (
                ("original", "*/matrix.dat"),
                ("compressed", "*/quantized.data"),
                ("graph", "*/links*.bin"),
            )
        },
        "building_s_a_1000": round(building / points * 1000, 2),
        **searches(edge, shard, vectors),
    }
    shard.close()
    return result


def collection(edge: Any, dims: int) -> Any:
    """The settings of `QdrantIndex`, but for a threshold that makes so few points use a graph."""
    return edge.EdgeConfig(
        vectors=edge.EdgeVectorParams(
            size=dims,
            distance=edge.Distance.Dot,
            on_disk=True,
            datatype=edge.VectorStorageDatatype.Float16,
            quantization_config=edge.TurboQuantQuantizationConfig(
                bits=edge.TurboQuantBitSize.Bits1, always_ram=True
            ),
        ),
        hnsw_config=edge.HnswIndexConfig(16, 100, 1000),
        on_disk_payload=True,
    )


def searches(edge: Any, shard: Any, vectors: NDArray[np.float16]) -> dict[str, Any]:
    """Recall of the ten nearest among the candidates of one query, its time, the scores' error."""
    draw = np.random.default_rng(1)
    found_of_ten, times, error = [], [], 0.0
    for row in draw.integers(0, len(vectors), 50):
        query = vectors[row].astype(np.float32)
        query += 0.5 * draw.standard_normal(len(query)).astype(np.float32) / len(query) ** 0.5
        query /= np.linalg.norm(query)
        exact = vectors.astype(np.float32) @ query
        request = edge.QueryRequest(
            limit=296,
            query=edge.Query.Nearest(query.tolist()),
            params=edge.SearchParams(
                hnsw_ef=296,
                quantization=edge.QuantizationSearchParams(rescore=True, oversampling=3.0),
            ),
        )
        started = time.perf_counter()
        points = shard.query(request)
        times.append(time.perf_counter() - started)
        rows = {point.id for point in points}
        found_of_ten.append(len(rows & set(np.argsort(-exact)[:10].tolist())))
        error = max(error, *(abs(exact[point.id] - point.score) for point in points))
    returned = shard.retrieve([0], with_payload=False, with_vector=True)[0].vector
    return {
        "recall_at_10_in_296_candidates": float(np.mean(found_of_ten)) / 10,
        "query_ms": milliseconds(times),
        "largest_error_of_a_score": float(f"{error:.1e}"),
        "vectors_come_back_exactly": bool((np.float16(returned) == vectors[0]).all()),
    }


def people(count: int, dims: int) -> NDArray[np.float16]:
    """Vectors (n, D) of length one, ten a person."""
    draw = np.random.default_rng(0)
    spread = np.exp(-np.arange(200) / 60)
    basis = draw.standard_normal((200, dims))

    def each() -> Iterator[NDArray[np.float16]]:
        for place in range(count):
            if place % 10 == 0:
                person = draw.standard_normal(200)
            looks = (person + 0.35 * draw.standard_normal(200)) * spread
            vector = looks @ basis + 3 * draw.standard_normal(dims)
            yield (vector / np.linalg.norm(vector)).astype(np.float16)

    return np.stack(list(each()))


def said(row: int) -> dict[str, Any]:
    """What Qdrant is told of an entry beside its vector."""
    return {name: value for name, value in payload_of(entry(row)).items() if value is not None}


def parts(count: int, most: int) -> Iterator[range]:
    """Split the rows up to a count into ranges of at most so many."""
    for start in range(0, count, most):
        yield range(start, min(start + most, count))


def size(directory: Path, pattern: str) -> int:
    """Size of the files that match, in bytes."""
    return sum(path.stat().st_size for path in directory.rglob(pattern))


def used_memory(records: SharedRecords) -> int:
    """What Redis has allocated, in bytes."""
    return int(records._redis.info("memory")["used_memory"])


def seconds(call: Callable[[], object]) -> float:
    """How long a call takes."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def milliseconds(times: Sequence[float]) -> float:
    """The median, in milliseconds."""
    return round(float(np.median(times)) * 1000, 3)


if __name__ == "__main__":
    raise SystemExit(main())
