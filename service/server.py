"""A running service: listens, stops, and closes everything in order.

Owns the process: sockets, signals, log format. The application itself is `app`; what it works with
is opened by `opening`.
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

from service.app import create_app
from service.connections import bounded
from service.context import ServiceContext
from service.engine.shedding import Doorkeeper
from service.memory import give_memory_back, spare_collector
from service.observing import logging_format
from service.opening import (
    StartError,
    model_opener,
    open_audit,
    open_gallery,
    open_other,
    open_registry,
    open_served,
    read_named,
)
from service.refresh.gate import Evaluate
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
        named = read_named(settings)
        registry = open_registry(settings)
        model = open_served(settings, registry, named)
        encoders = stack.enter_context(ExitStack())
        encoders.callback(model.close)
        closed_last = stack.enter_context(ExitStack())
        gallery = stack.enter_context(closing(open_gallery(settings, model.encoder)))
        audit = closed_last.enter_context(closing(open_audit(settings)))
        open_model = model_opener(settings, registry)
        other = open_other(settings, gallery, open_model)
        _listen(listener)
        app = create_app(
            settings,
            model,
            gallery,
            audit=audit,
            registry=registry,
            open_model=open_model,
            evaluate=evaluate,
        )
        context: ServiceContext = app.state.context
        if other is not None:
            context.models.add(other)
        encoders.callback(context.models.close)
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
