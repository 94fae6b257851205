"""Qdrant's local mode behind its own gRPC interface, so that the client speaks as to a server.

What travels, how it is packed and what an outage looks like are the client's own; only the engine
is not the server's.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from qdrant_client import grpc as messages
from qdrant_client import models
from qdrant_client.conversions.conversion import GrpcToRest, RestToGrpc, grpc_to_payload
from qdrant_client.grpc.collections_service_pb2_grpc import (
    CollectionsServicer,
    add_CollectionsServicer_to_server,
)
from qdrant_client.grpc.points_service_pb2_grpc import (
    PointsServicer,
    add_PointsServicer_to_server,
)

from tests.gallery_index.shared_place import OneAtATime


class QdrantOverGrpc:
    """A server on a free port of this machine; `requests` are all that came, `sent_bytes` went.

    Use as a context manager; `stop` and `start` are an outage. `status` is what becomes of writes.
    """

    def __init__(self) -> None:
        self.qdrant = OneAtATime()
        self.requests: list[Any] = []
        self.sent_bytes = 0
        self.port = 0
        self.status = messages.UpdateStatus.Completed

    @property
    def url(self) -> str:
        """The address as an operator writes it."""
        return f"http://127.0.0.1:9?grpc_port={self.port}"

    def start(self) -> None:
        """Listen, on the same port as before."""
        self._server = grpc.server(
            ThreadPoolExecutor(4), interceptors=[_Notes(self)], options=[("grpc.so_reuseport", 0)]
        )
        add_CollectionsServicer_to_server(_Collections(self.qdrant), self._server)  # type: ignore[no-untyped-call]
        add_PointsServicer_to_server(_Points(self), self._server)  # type: ignore[no-untyped-call]
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        self._server.start()

    def stop(self) -> None:
        """Hang up."""
        self._server.stop(grace=None).wait()

    def __enter__(self) -> "QdrantOverGrpc":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class _Notes(grpc.ServerInterceptor):  # type: ignore[misc]
    """Keeps what came and counts what went."""

    def __init__(self, server: QdrantOverGrpc) -> None:
        self._server = server

    def intercept_service(self, go_on: Callable[[Any], Any], details: Any) -> Any:
        handler = go_on(details)

        def handle(request: Any, context: Any) -> Any:
            self._server.requests.append(request)
            try:
                answer = handler.unary_unary(request, context)
            except ValueError as error:  # local mode's "Collection ... not found"
                context.abort(grpc.StatusCode.NOT_FOUND, str(error))
            self._server.sent_bytes += answer.ByteSize()
            return answer

        return grpc.unary_unary_rpc_method_handler(
            handle, handler.request_deserializer, handler.response_serializer
        )


class _Collections(CollectionsServicer):
    def __init__(self, qdrant: OneAtATime) -> None:
        self._qdrant = qdrant

    def CollectionExists(self, request: Any, context: Any) -> Any:
        exists = self._qdrant.collection_exists(request.collection_name)
        return messages.CollectionExistsResponse(result=messages.CollectionExists(exists=exists))

    def Create(self, request: Any, context: Any) -> Any:
        vectors = GrpcToRest.convert_vectors_config(request.vectors_config)
        done = self._qdrant.create_collection(request.collection_name, vectors_config=vectors)
        return messages.CollectionOperationResponse(result=done)

    def Get(self, request: Any, context: Any) -> Any:
        found = self._qdrant.get_collection(request.collection_name)
        vectors = RestToGrpc.convert_vectors_config(found.config.params.vectors)
        params = messages.CollectionParams(vectors_config=vectors)
        return messages.GetCollectionInfoResponse(
            result=messages.CollectionInfo(
                status=messages.CollectionStatus.Green,
                optimizer_status=messages.OptimizerStatus(ok=True),
                config=messages.CollectionConfig(
                    params=params,
                    hnsw_config=messages.HnswConfigDiff(
                        m=16, ef_construct=100, full_scan_threshold=1
                    ),
                    optimizer_config=messages.OptimizersConfigDiff(
                        deleted_threshold=0.2,
                        vacuum_min_vector_number=1000,
                        default_segment_number=0,
                        flush_interval_sec=5,
                    ),
                    wal_config=messages.WalConfigDiff(wal_capacity_mb=32, wal_segments_ahead=0),
                ),
                points_count=found.points_count,
            )
        )


class _Points(PointsServicer):
    def __init__(self, server: QdrantOverGrpc) -> None:
        self._server = server
        self._qdrant = server.qdrant

    def _done(self) -> Any:
        result = messages.UpdateResult(operation_id=0, status=self._server.status)
        return messages.PointsOperationResponse(result=result)

    def CreateFieldIndex(self, request: Any, context: Any) -> Any:
        return self._done()

    def Upsert(self, request: Any, context: Any) -> Any:
        points = [GrpcToRest.convert_point_struct(point) for point in request.points]
        self._qdrant.upsert(request.collection_name, points, wait=request.wait)
        return self._done()

    def Delete(self, request: Any, context: Any) -> Any:
        points = GrpcToRest.convert_points_selector(request.points)
        self._qdrant.delete(request.collection_name, points, wait=request.wait)
        return self._done()

    def SetPayload(self, request: Any, context: Any) -> Any:
        points = GrpcToRest.convert_points_selector(request.points_selector)
        assert isinstance(points, models.FilterSelector)
        payload = grpc_to_payload(request.payload)
        self._qdrant.set_payload(request.collection_name, payload, points.filter, wait=request.wait)
        return self._done()

    def Get(self, request: Any, context: Any) -> Any:
        records = self._qdrant.retrieve(
            request.collection_name,
            [GrpcToRest.convert_point_id(each) for each in request.ids],
            with_payload=GrpcToRest.convert_with_payload_selector(request.with_payload),
            with_vectors=request.with_vectors.enable,
        )
        return messages.GetResponse(
            result=[RestToGrpc.convert_retrieved_point(record) for record in records]
        )

    def Scroll(self, request: Any, context: Any) -> Any:
        records, _ = self._qdrant.scroll(
            request.collection_name,
            scroll_filter=_filter(request),
            offset=GrpcToRest.convert_point_id(request.offset),
            limit=request.limit,
            with_payload=[],
        )
        return messages.ScrollResponse(
            result=[RestToGrpc.convert_retrieved_point(record) for record in records]
        )

    def Query(self, request: Any, context: Any) -> Any:
        found = self._qdrant.query_points(
            request.collection_name,
            query=list(request.query.nearest.dense.data),
            query_filter=_filter(request),
            limit=request.limit,
            with_payload=GrpcToRest.convert_with_payload_selector(request.with_payload),
        )
        return messages.QueryResponse(
            result=[RestToGrpc.convert_scored_point(point) for point in found.points]
        )


def _filter(request: Any) -> models.Filter | None:
    return GrpcToRest.convert_filter(request.filter) if request.HasField("filter") else None
