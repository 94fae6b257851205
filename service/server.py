"""A running service: opens model and gallery, listens, and closes everything in order.

Owns the process: sockets, signals, log format. The application itself is `app`.
"""

import asyncio
import logging
import math
import os
import resource
import signal
import socket
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from types import FrameType

import uvicorn

from gallery_index.errors import GalleryError
from gallery_index.gallery import Gallery
from gallery_index.person_gallery import PersonGallery
from gallery_index.upkeep import UpkeepPolicy
from model.encoder import Encoder
from model.errors import ModelError
from service.app import create_app
from service.audit.log import AuditLog
from service.connections import bounded
from service.context import ServiceContext
from service.engine.shedding import Doorkeeper
from service.errors import AuditUnavailableError
from service.memory import give_memory_back, spare_collector
from service.observing import logging_format
from service.refresh.gate import Evaluate
from service.refresh.registry import ModelRegistry
from service.refresh.served import ServedModel
from service.refresh.verification import Trials
from service.settings import ServiceSettings

BACKLOG = 2048
FINISHING_SHARE = 0.7
"""How much of a stop's time what waits may use; then it is refused, to be answered in time."""
CLOSING_S = 15.0
"""How long closing may take after that; a process that hangs then ends itself."""
SWITCH_S = 5e-4
"""How long a thread keeps the interpreter from others that wait. A search gives it away at each
read: with Python's 5 ms eight searches at once were slower than one (107 against 139 a second)."""

log = logging.getLogger(__name__)


class StartError(Exception):
    """The service cannot start; the message is one line for the operator."""


def run(
    settings: ServiceSettings,
    *,
    on_ready: Callable[[str], None] | None = None,
    evaluate: Evaluate | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT, then finish what is under way and close the gallery.

    `on_ready` gets the service's address once it listens, in a thread of its own. `evaluate`
    measures models before they are activated.

    Raises: StartError if the model, the gallery or the port cannot be used.
    """
    logging_format.configure(settings.log_format)
    _quiet_libraries()
    give_memory_back()
    sys.setswitchinterval(SWITCH_S)
    _allow_descriptors()
    with ExitStack() as stack:
        watchdog = stack.enter_context(_Watchdog(settings.shutdown_s + CLOSING_S))
        listener = stack.enter_context(closing(_bind(settings)))
        encoder = stack.enter_context(_open_encoder(settings))
        closed_last = stack.enter_context(ExitStack())
        gallery = stack.enter_context(closing(_open_gallery(settings, encoder)))
        audit = closed_last.enter_context(closing(_open_audit(settings)))
        registry = _open_registry(settings)
        model = ServedModel.of(encoder)
        _listen(listener)
        app = create_app(
            settings, model, gallery, audit=audit, registry=registry, evaluate=evaluate
        )
        context: ServiceContext = app.state.context
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            ws="none",
            http=bounded(
                max_connections=settings.max_connections,
                timeout_s=settings.read_timeout_s,
                on_refused=context.metrics.requests.count_refused_connection,
                doorkeeper=Doorkeeper(context.embedder.admission),
                on_shed=context.metrics.requests.count_request,
            ),
            timeout_graceful_shutdown=math.ceil(settings.shutdown_s),
        )
        server = _Server(config, _address(listener), on_ready, watchdog)
        stack.enter_context(_quiet_after_signals())
        spare_collector()
        server.run(sockets=[listener])


class _Server(uvicorn.Server):
    """Announces the address once connections are accepted; stops within a bound."""

    def __init__(
        self,
        config: uvicorn.Config,
        address: str,
        on_ready: Callable[[str], None] | None,
        watchdog: "_Watchdog",
    ) -> None:
        super().__init__(config)
        self._address = address
        self._on_ready = on_ready
        self._watchdog = watchdog

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._on_ready is not None:
            threading.Thread(target=self._on_ready, args=(self._address,), daemon=True).start()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take nothing new, finish what is under way or refuse it while it can be answered."""
        self._watchdog.start()
        context = self.config.app.state.context  # type: ignore[union-attr]
        assert isinstance(context, ServiceContext)
        context.embedder.admission.stop()
        finishing_s = FINISHING_SHARE * context.settings.shutdown_s
        asyncio.get_running_loop().call_later(finishing_s, context.embedder.refuse_waiting)
        if context.registry is not None:
            asyncio.get_running_loop().call_later(finishing_s, context.registry.stop)
        await super().shutdown(sockets)


class _Watchdog:
    """Ends a process that does not come to its end; everything acknowledged is on the disk."""

    def __init__(self, timeout_s: float) -> None:
        self._timer = threading.Timer(timeout_s, self._end)
        self._timer.daemon = True

    def __enter__(self) -> "_Watchdog":
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    def start(self) -> None:
        """Begin to count; a second call does nothing."""
        if not self._timer.is_alive():
            self._timer.start()

    def _end(self) -> None:
        log.critical("the service has not stopped in %g s and is ended", self._timer.interval)
        os._exit(1)


def _quiet_libraries() -> None:
    """Keep out of the log what a hostile file or body makes libraries say, each time anew."""
    warnings.filterwarnings("ignore", module=r"PIL\.")  # and out of memory: no text is kept
    logging.getLogger("python_multipart").setLevel(logging.ERROR)


def _allow_descriptors() -> None:
    """Take as many descriptors as the system gives: each connection is one."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _bind(settings: ServiceSettings) -> socket.socket:
    """Take the address first: a service that cannot be reached need not load its model."""
    host, port = settings.host, settings.port
    try:
        # asyncio turns Nagle's algorithm off (40 ms an answer) only where the protocol is named
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise StartError(f"cannot listen on {host}:{port}: {error.strerror}") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise StartError(f"cannot listen on {host}:{port}: {error.strerror}") from error
    return listener


def _listen(listener: socket.socket) -> None:
    """Accept connections from here on: whoever comes earlier is refused, not kept waiting."""
    try:
        listener.listen(BACKLOG)
    except OSError as error:
        raise StartError(f"cannot listen on {_address(listener)}: {error.strerror}") from error


def _open_encoder(settings: ServiceSettings) -> Encoder:
    try:
        return Encoder.open(settings.model, provider=settings.provider, threads=settings.threads)
    except ModelError as error:
        raise StartError(str(error)) from error


def _open_gallery(settings: ServiceSettings, encoder: Encoder) -> PersonGallery:
    redis_url = settings.redis_url.get_secret_value() if settings.redis_url else None
    try:
        if settings.qdrant_url is not None:
            return _open_shared(settings, encoder)
        return Gallery.open(
            settings.data,
            model_id=encoder.model_id,
            embedding_dim=encoder.config.embedding_dim,
            redis_url=redis_url,
            policy=UpkeepPolicy(
                recall_target=settings.recall_target, retention_days=settings.retention_days
            ),
            upkeep=True,
        )
    except GalleryError as error:
        raise StartError(str(error)) from error
    except OSError as error:
        raise StartError(f"cannot use the data directory {settings.data}: {error}") from error


def _open_audit(settings: ServiceSettings) -> AuditLog:
    try:
        return AuditLog.open(settings.data / "audit", keep_days=settings.audit_days)
    except (AuditUnavailableError, GalleryError) as error:
        raise StartError(str(error)) from error


def _open_registry(settings: ServiceSettings) -> ModelRegistry:
    trials = Trials(
        provider=settings.provider,
        timeout_s=settings.publish_timeout_s,
        max_crop_s=settings.query_deadline_s,
    )
    try:
        return ModelRegistry(settings.models_directory, trials)
    except GalleryError as error:
        raise StartError(str(error)) from error


def _open_shared(settings: ServiceSettings, encoder: Encoder) -> PersonGallery:
    try:
        from gallery_index.shared.gallery import SharedGallery
    except ImportError as error:
        raise StartError(
            f"MPANET_QDRANT_URL needs the extra `scale` ({error}): pip install 'mpanet[scale]'"
        ) from error
    assert settings.qdrant_url is not None
    assert settings.redis_url is not None
    assert settings.crop_store is not None
    return SharedGallery.open(
        redis_url=settings.redis_url.get_secret_value(),
        qdrant_url=settings.qdrant_url.get_secret_value(),
        crop_store=settings.crop_store.get_secret_value(),
        model_id=encoder.model_id,
        embedding_dim=encoder.config.embedding_dim,
        retention_days=settings.retention_days,
    )


@contextmanager
def _quiet_after_signals() -> Iterator[None]:
    """Let the process outlive the signal that stopped the server.

    uvicorn raises it again when it has stopped; the gallery is closed after that.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    signals = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.signal(number, _ignore) for number in signals}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _ignore(number: int, frame: FrameType | None) -> None:
    """Do nothing: the server has taken the signal already."""


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
