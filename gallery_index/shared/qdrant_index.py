"""The search index in Qdrant: one collection a gallery and model, one point a row.

Vectors are stored in fp16 on disk, exactly as they are scored; a compressed copy and the graph are
Qdrant's. An inner product, not Qdrant's cosine: that would normalise anew and change the numbers.
The only module that speaks to Qdrant.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np
from numpy.typing import NDArray
from qdrant_client import QdrantClient, models
from qdrant_client.common.client_exceptions import QdrantException
from qdrant_client.http.exceptions import ApiException, UnexpectedResponse

from gallery_index.candidates import Candidates, StoredVectors
from gallery_index.errors import (
    GalleryError,
    GalleryMismatchError,
    StorageFullError,
    StoreConfigurationError,
    StoreUnavailableError,
)
from gallery_index.records import EntryFilter, GalleryEntry, GalleryIdentity
from gallery_index.search_index import Change, Erase, IndexStats, Operation, Put, person_number
from gallery_index.shared.qdrant_filters import CHECKSUM, INDEXED, checksum, filter_of, payload_of

KIND = "qdrant"
_POINTS_A_CALL = 128  # 7 MB at 14,336 dimensions; a server takes 32 MB
_OVERSAMPLING = 3.0
_LEAST_EF = 256
_SUMMING_ERROR = 0.005
_FULL_SCAN_KB = 200_000  # below it a filter's matches are all compared: exact, and soon done


@dataclass(frozen=True, slots=True)
class Layout:
    """How a new collection is spread over a cluster; `None`: as the server does by itself."""

    shards: int | None = None
    replicas: int | None = None

    @property
    def write_quorum(self) -> int | None:
        """How many replicas must have taken a write before it is acknowledged: most of them."""
        return None if self.replicas is None else self.replicas // 2 + 1


class QdrantIndex:
    """A `SearchIndex` in a Qdrant collection, reached again by itself after it was away."""

    def __init__(
        self,
        client: QdrantClient,
        identity: GalleryIdentity,
        location: str,
        layout: Layout | None = None,
    ) -> None:
        """Use the collection of a gallery; see `qdrant_connection` and `create`."""
        self._client = client
        self._layout = layout or Layout()
        self._dim = identity.embedding_dim
        self._collection = collection_of(identity)
        self.location = f"{location} (collection {self._collection})"

    def exists(self) -> bool:
        """Whether the collection is there.

        Raises: GalleryMismatchError if it is of another form.
        """
        with self._reported():
            if not self._client.collection_exists(self._collection):
                return False
            found = self._client.get_collection(self._collection).config.params.vectors
        assert isinstance(found, models.VectorParams)
        wanted = (self._dim, models.Distance.DOT, models.Datatype.FLOAT16)
        if (found.size, found.distance, found.datatype) != wanted:
            raise GalleryMismatchError(
                f"{self.location} holds vectors of {found.size} dimensions ({found.distance.value},"
                f" {found.datatype}), expected {self._dim} (Dot, float16)"
            )
        return True

    def create(self) -> None:
        """Make the collection and the indexes of its fields; what is there stays."""
        with self._reported():
            if not self._client.collection_exists(self._collection):
                self._make_collection()
            for field, schema in INDEXED.items():
                self._client.create_payload_index(
                    self._collection, field, field_schema=schema, wait=True
                )

    def apply(self, operations: Sequence[Operation], seq: int) -> None:
        """Carry out changes and wait until each is in Qdrant's log and seen by searches.

        `seq` is not needed: an operation repeated, or one on a row that is gone, does no harm.
        """
        puts = [operation for operation in operations if isinstance(operation, Put)]
        for start in range(0, len(puts), _POINTS_A_CALL):
            self._put(puts[start : start + _POINTS_A_CALL])
        for operation in operations:
            if isinstance(operation, Change):
                self._change(operation)
        erased = [operation.row for operation in operations if isinstance(operation, Erase)]
        if erased:
            with self._reported():
                done = self._client.delete(self._collection, _ids(erased), wait=True)
            self._check_done(done)

    def candidates(
        self,
        query: NDArray[np.float32],
        n: int,
        filter: EntryFilter,
        also_rows: Sequence[int] = (),
    ) -> Candidates:
        """Return up to `n` rows near a query; `also_rows` take part whatever the filter says.

        What Qdrant's graph overlooks is not among them; the estimates are right to `margin`.
        """
        with self._reported():
            points = self._client.query_points(
                self._collection,
                query=query.tolist(),
                query_filter=filter_of(filter, also_rows=also_rows),
                search_params=models.SearchParams(
                    hnsw_ef=max(n, _LEAST_EF),
                    quantization=models.QuantizationSearchParams(
                        rescore=True, oversampling=_OVERSAMPLING
                    ),
                ),
                limit=n,
                with_payload=["person_id"],
            ).points
        return Candidates(
            rows=np.array([point.id for point in points], np.int64),
            estimates=np.array([point.score for point in points], np.float32),
            persons=np.array(
                [person_number((point.payload or {}).get("person_id")) for point in points],
                np.int64,
            ),
            total=len(points) + (len(points) == n),
            margin=_margin(query),
        )

    def vectors(self, rows: NDArray[np.int64]) -> StoredVectors:
        """Return vectors (n, D); one that is missing or fails its checksum cannot be trusted."""
        places = {row: place for place, row in enumerate(rows.tolist())}
        values = np.zeros((len(rows), self._dim), np.float16)
        sound = np.zeros(len(rows), np.bool_)
        for start in range(0, len(rows), _POINTS_A_CALL):
            with self._reported():
                points = self._client.retrieve(
                    self._collection,
                    list(places)[start : start + _POINTS_A_CALL],
                    with_vectors=True,
                    with_payload=[CHECKSUM],
                )
            for point in points:
                vector = np.asarray(point.vector, np.float32).astype(np.float16)
                place = places[int(point.id)]
                sound[place] = (point.payload or {}).get(CHECKSUM) == checksum(vector)
                values[place] = vector
        return StoredVectors(values, sound)

    def rows_after(
        self, row: int, filter: EntryFilter, limit: int, also_rows: Sequence[int] = ()
    ) -> list[int]:
        """Return up to `limit` rows above `row` that match, ascending."""
        with self._reported():
            points, _ = self._client.scroll(
                self._collection,
                scroll_filter=filter_of(filter, also_rows=also_rows),
                offset=row + 1,
                limit=limit,
                with_payload=False,
            )
        return [int(point.id) for point in points]

    def count(self, filter: EntryFilter) -> int:
        """Return how many points match."""
        with self._reported():
            return self._client.count(self._collection, filter_of(filter)).count

    def is_current(self, entries: Sequence[GalleryEntry]) -> dict[int, bool]:
        """Return by row whether Qdrant has the fields of these entries; without missing rows."""
        wanted = {entry.row: _said(payload_of(entry)) for entry in entries}
        with self._reported():
            points = self._client.retrieve(
                self._collection,
                list(wanted),
                with_payload=models.PayloadSelectorExclude(exclude=[CHECKSUM]),
            )
        return {int(p.id): _said(p.payload or {}) == wanted[int(p.id)] for p in points}

    def checkpoint(self) -> None:
        """Qdrant keeps its own log and segments: nothing to do."""

    def stats(self) -> IndexStats:
        """Return how many points there are, by Qdrant's own estimate."""
        try:
            with self._reported():
                found = self._client.get_collection(self._collection)
        except StoreUnavailableError:
            return IndexStats(rows=0, kind=KIND, ready=False)
        return IndexStats(rows=found.points_count or 0, kind=KIND, ready=True)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _make_collection(self) -> None:
        try:
            self._client.create_collection(
                self._collection,
                vectors_config=models.VectorParams(
                    size=self._dim,
                    distance=models.Distance.DOT,
                    datatype=models.Datatype.FLOAT16,
                    on_disk=True,
                ),
                hnsw_config=models.HnswConfigDiff(full_scan_threshold=_FULL_SCAN_KB),
                quantization_config=models.TurboQuantization(
                    turbo=models.TurboQuantQuantizationConfig(
                        bits=models.TurboQuantBitSize.BITS1, always_ram=True
                    )
                ),
                on_disk_payload=True,
                shard_number=self._layout.shards,
                replication_factor=self._layout.replicas,
                write_consistency_factor=self._layout.write_quorum,
            )
        except (ApiException, ValueError, grpc.RpcError):
            if not self._client.collection_exists(self._collection):  # else another made it
                raise

    def _put(self, puts: Sequence[Put]) -> None:
        points = models.Batch(
            ids=[put.entry.row for put in puts],
            vectors=[put.vector.astype(np.float32).tolist() for put in puts],
            payloads=[
                _said(payload_of(put.entry)) | {CHECKSUM: checksum(put.vector)} for put in puts
            ],
        )
        with self._reported():
            done = self._client.upsert(self._collection, points, wait=True)
        self._check_done(done)

    def _change(self, change: Change) -> None:
        # By a filter, not by id: a point that was erased meanwhile is no error then.
        only = models.Filter(must=[models.HasIdCondition(has_id=[change.entry.row])])
        with self._reported():
            done = self._client.set_payload(
                self._collection, payload_of(change.entry), only, wait=True
            )
        self._check_done(done)

    def _check_done(self, result: models.UpdateResult) -> None:
        """A server that is asked to wait may give up waiting, and says so in a success."""
        if result.status != models.UpdateStatus.COMPLETED:
            raise StoreUnavailableError(
                f"{self.location} has not carried out a change yet: {result.status.value}"
            )

    @contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except (ApiException, QdrantException, grpc.RpcError, OSError) as error:
            raise self._as_ours(error) from error

    def _as_ours(self, error: Exception) -> GalleryError:
        said = error.details() if isinstance(error, grpc.RpcError) else error
        text = " ".join(str(said).split())[:300]
        if "No space left" in text:
            return StorageFullError(f"{self.location} is full: {text}")
        code = error.code() if isinstance(error, grpc.RpcError) else None
        status = error.status_code if isinstance(error, UnexpectedResponse) else None
        if status in (401, 403) or code in (
            grpc.StatusCode.UNAUTHENTICATED,
            grpc.StatusCode.PERMISSION_DENIED,
        ):
            return StoreConfigurationError(f"{self.location} refuses us: {text}")
        if status == 404 or code == grpc.StatusCode.NOT_FOUND:
            return GalleryMismatchError(f"{self.location} has lost this gallery: {text}")
        return StoreUnavailableError(f"{self.location} does not answer: {text}")


def collection_of(identity: GalleryIdentity) -> str:
    """Return the name of the collection of a gallery and its model."""
    model = hashlib.sha256(identity.model_id.encode()).hexdigest()
    return f"mpanet-{identity.gallery_id}-{model[:16]}"


def _margin(query: NDArray[np.float32]) -> float:
    """How far a similarity may lie from Qdrant's score.

    Qdrant rounds the query to the vectors' fp16 and sums in float32, but on ARM in 32 lanes of fp16
    (qdrant/qdrant, lib/segment/src/spaces/metric_f16/cpp/neon.c), which loses small products: up to
    0.0042 was seen of 14,336 in an imitation of it.
    """
    rounding = float(np.linalg.norm(query - query.astype(np.float16).astype(np.float32)))
    return rounding + _SUMMING_ERROR


def _said(payload: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in payload.items() if value is not None}


def _ids(rows: Sequence[int]) -> models.PointIdsList:
    return models.PointIdsList(points=list(rows))
