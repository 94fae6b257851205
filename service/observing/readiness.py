"""How the service stands: each of its parts asked, within a bound on the time that takes.

Who asks at the same time shares one answer. What an operator is told of it is `routes.status`.
"""

import asyncio
import shutil
from dataclasses import dataclass
from typing import Final

from gallery_index.errors import GalleryError
from gallery_index.records import GalleryStats
from service.context import ServiceContext, in_thread
from service.errors import AuditUnavailableError, EncoderFailedError, RequestError
from service.observing.metrics import Standing

PROBE_S: Final = 1.5
"""How long an inference on trial may take: the image's own health check waits two seconds."""
STORE_S: Final = 5.0
AUDIT_S: Final = 2.0
MIN_FREE_BYTES: Final = 64 * 2**20
"""Below this the service is not ready: no room for a large request and what follows from it."""


@dataclass(frozen=True, slots=True)
class Check:
    """What one part says of itself."""

    name: str
    ok: bool
    detail: str


async def check_encoder(context: ServiceContext) -> None:
    """Return at once while the encoder is healthy, else after a real inference.

    Raises: EncoderFailedError.
    """
    embedder = context.embedder
    if embedder.healthy:
        return
    try:
        await context.probes.run(lambda: embedder.probe(PROBE_S), 2 * PROBE_S)
    except TimeoutError:
        raise EncoderFailedError(f"the encoder has said nothing for {2 * PROBE_S:g} s") from None


async def standing(context: ServiceContext) -> Standing:
    """Return how every part stands; what does not answer is left out. Nothing is tried out."""
    return Standing(
        stats=await stats(context),
        engine=context.embedder.state(),
        encoder_healthy=context.embedder.healthy,
        audit_ready=await _audit_ready(context),
        free_bytes=_free_bytes(context),
    )


async def stats(context: ServiceContext) -> GalleryStats | None:
    """Return what the gallery says of itself; None: it does not answer."""
    try:
        return await context.stats_reads.run(lambda: in_thread(context.gallery.stats), STORE_S)
    except (GalleryError, TimeoutError):
        return None


async def checks(context: ServiceContext, known: GalleryStats | None) -> list[Check]:
    """Ask every part; `known` is what the gallery says of itself."""
    encoder = context.models.active().encoder
    return [
        Check("model", True, f"{encoder.model_id} on {encoder.provider}"),
        await _encoder(context),
        _store(known),
        *([] if known is None else [_index(known), _durability(known)]),
        *_disk(_free_bytes(context)),
        await _audit(context),
        _queue(context),
        _accepting(context),
    ]


async def _encoder(context: ServiceContext) -> Check:
    try:
        await check_encoder(context)
    except RequestError as error:
        return Check("encoder", False, str(error))
    return Check("encoder", True, "embeds")


def _store(stats: GalleryStats | None) -> Check:
    if stats is None:
        return Check("store", False, "the gallery does not answer")
    if stats.ready:
        return Check("store", True, f"{stats.store} answers")
    if stats.store == "shared":
        return Check("store", False, "Redis, Qdrant or the crop store does not answer")
    return Check("store", False, f"{stats.store} does not answer; searches go on")


def _index(stats: GalleryStats) -> Check:
    """Low recall does not keep a service from working; the gallery mends it by itself."""
    recall = "not measured" if stats.recall_at_10 is None else f"{stats.recall_at_10:.4f}"
    detail = f"{stats.entries} entries; recall@10 {recall}, target {stats.recall_target:g}"
    if stats.damaged_rows:
        detail += f"; {stats.damaged_rows} damaged rows: mpanet gallery verify"
    return Check("index", True, detail)


def _durability(stats: GalleryStats) -> Check:
    return Check("durability", True, f"an acknowledged write survives: {stats.durability}")


def _disk(free_bytes: int | None) -> list[Check]:
    if free_bytes is None:
        return []
    detail = f"{free_bytes / 2**20:,.0f} MiB free; at least {MIN_FREE_BYTES / 2**20:g} are needed"
    return [Check("disk", free_bytes >= MIN_FREE_BYTES, detail)]


async def _audit(context: ServiceContext) -> Check:
    ready = await _audit_ready(context)
    if ready is None:
        return Check("audit", True, "nothing is recorded: there is no audit log")
    return Check("audit", ready, "can be written" if ready else "cannot be written")


def _queue(context: ServiceContext) -> Check:
    """A full queue is at work: out of rotation it would empty, and then fill, in turns."""
    state = context.embedder.state()
    detail = f"{state.queued_queries} crops of queries and {state.queued_enrolments} of enrolments"
    return Check("queue", True, f"{detail} wait")


def _accepting(context: ServiceContext) -> Check:
    stopping = context.embedder.admission.stopping
    return Check("accepting", not stopping, "the service is stopping" if stopping else "yes")


async def _audit_ready(context: ServiceContext) -> bool | None:
    """Whether the audit log can be written now; None: there is none."""
    if context.audit is None:
        return None
    try:
        async with asyncio.timeout(AUDIT_S):
            await context.audit.check()
    except (AuditUnavailableError, TimeoutError):
        return False
    return True


def _free_bytes(context: ServiceContext) -> int | None:
    """Return what is free for the data directory; None where there is none."""
    try:
        return shutil.disk_usage(context.settings.data).free
    except OSError:
        return None
