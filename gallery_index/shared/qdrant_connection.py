"""From a URL to the index of a gallery in Qdrant. Owns what may be said in the URL."""

from urllib.parse import parse_qs, urlsplit

from qdrant_client import QdrantClient

from gallery_index.errors import StoreConfigurationError
from gallery_index.records import GalleryIdentity
from gallery_index.shared.qdrant_index import Layout, QdrantIndex

_TIMEOUT_S = 10
_PORT = 6333
_GRPC_PORT = 6334
# A channel that failed tries again after up to two minutes by default, and fails every call before.
_RECONNECT = {
    "grpc.initial_reconnect_backoff_ms": 100,
    "grpc.min_reconnect_backoff_ms": 100,
    "grpc.max_reconnect_backoff_ms": 1000,
}


def connect(url: str, identity: GalleryIdentity) -> QdrantIndex:
    """Return the index of a gallery at a Qdrant server; nothing is sent yet.

    `url` is http(s)://[:API_KEY@]HOST[:PORT][?grpc_port=PORT&shards=N&replicas=N]; vectors travel
    over gRPC, and the last two are for a collection that is not there yet.
    Raises: StoreConfigurationError for a URL that cannot be one.
    """
    try:
        parts = urlsplit(url)
        port = parts.port or _PORT
        options = {name: int(value[-1]) for name, value in parse_qs(parts.query).items()}
        grpc_port = options.pop("grpc_port", _GRPC_PORT)
        layout = Layout(**options)
    except (ValueError, TypeError) as error:
        raise StoreConfigurationError(f"not a Qdrant URL: {error}") from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise StoreConfigurationError("not a Qdrant URL: expected http(s)://HOST[:PORT]")
    client = QdrantClient(
        host=parts.hostname,
        port=port,
        grpc_port=grpc_port,
        prefer_grpc=True,
        https=parts.scheme == "https",
        api_key=parts.password or None,
        prefix=parts.path.strip("/") or None,
        timeout=_TIMEOUT_S,
        check_compatibility=False,
        grpc_options=dict(_RECONNECT),  # the client writes into it
    )
    return QdrantIndex(client, identity, f"Qdrant at {parts.hostname}:{port}", layout)
