"""`/healthz` and `/readyz`: cheap while all is well, honest when it is not."""

import asyncio
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from gallery_index.errors import StoreUnavailableError
from gallery_index.gallery import Gallery
from gallery_index.records import GalleryStats
from service.app import create_app
from service.audit.log import AuditLog
from service.context import ServiceContext
from service.errors import AuditUnavailableError
from service.observing import readiness
from service.settings import ServiceSettings
from tests.service.asgi import running
from tests.service.claims import problem_of
from tests.service.fakes import TinyEncoder, TinyEncoding, crop


class Breakable(TinyEncoder):
    """Raises while it is broken; counts all that it is asked for; waits while it is held."""

    def __init__(self) -> None:
        super().__init__()
        self.broken = False
        self.calls = 0
        self.entered, self.go_on = threading.Event(), threading.Event()
        self.go_on.set()

    def encode(self, batch: NDArray[np.float32]) -> TinyEncoding:
        self.calls += 1
        self.entered.set()
        assert self.go_on.wait(60)
        if self.broken:
            raise RuntimeError("the device is lost")
        return super().encode(batch)


@pytest.fixture
def encoder() -> Breakable:
    return Breakable()


def checks_of(http: httpx.Client) -> dict[str, dict[str, Any]]:
    response = http.get("/readyz")
    assert response.status_code == 200, response.text
    return {check["name"]: check for check in response.json()["checks"]}


def break_down(http: httpx.Client, encoder: Breakable) -> None:
    encoder.broken = True
    response = http.post("/embed", files={"file": crop(1)}, data={"modality": "visible"})
    problem_of(response, 503, "encoder_failed")


def test_health_costs_no_inference_while_the_encoder_works(
    http: httpx.Client, encoder: Breakable
) -> None:
    for _ in range(3):
        assert http.get("/healthz").json() == {"status": "ok"}
    assert checks_of(http)["encoder"]["ok"]
    assert encoder.calls == 0


def test_after_a_failure_health_is_what_a_real_inference_says(
    http: httpx.Client, encoder: Breakable
) -> None:
    break_down(http, encoder)
    problem_of(http.get("/healthz"), 503, "encoder_failed")
    problem = problem_of(http.get("/readyz"), 503, "not_ready")
    assert [reason.split(":")[0] for reason in problem["reasons"]] == ["encoder"]
    encoder.broken = False
    tried = encoder.calls
    assert http.get("/healthz").json() == {"status": "ok"}
    assert encoder.calls == tried + 1
    assert http.get("/healthz").json() == {"status": "ok"}
    assert encoder.calls == tried + 1, "healthy again: no more trials"


def test_those_who_ask_at_the_same_time_share_one_trial(
    settings: ServiceSettings, gallery: Gallery, encoder: Breakable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "PROBE_S", 60.0)
    app = create_app(settings, encoder, gallery)

    async def ask() -> list[int]:
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(
                transport=httpx.ASGITransport(app), base_url="http://localhost"
            ) as http,
        ):
            encoder.broken = True
            await http.post("/embed", files={"file": crop(1)}, data={"modality": "visible"})
            encoder.broken = False
            encoder.calls = 0
            encoder.go_on.clear()
            encoder.entered.clear()
            asking = [asyncio.ensure_future(http.get("/healthz")) for _ in range(20)]
            await asyncio.to_thread(encoder.entered.wait, 60)
            encoder.go_on.set()
            return [response.status_code for response in await asyncio.gather(*asking)]

    assert asyncio.run(ask()) == [200] * 20
    assert encoder.calls == 1


def test_a_trial_that_hangs_is_given_up(
    http: httpx.Client, encoder: Breakable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "PROBE_S", 0.05)
    break_down(http, encoder)
    encoder.go_on.clear()
    try:
        problem = problem_of(http.get("/healthz"), 503, "encoder_failed")
        assert "0.05 s" in problem["detail"]
    finally:
        encoder.go_on.set()


def test_every_part_says_how_it_stands(http: httpx.Client) -> None:
    checks = checks_of(http)
    assert checks["model"]["detail"] == "tiny-model on TinyProvider"
    assert checks["store"]["detail"] == "sqlite answers"
    assert checks["index"]["detail"] == "0 entries; recall@10 not measured, target 0.99"
    assert checks["durability"]["detail"] == "an acknowledged write survives: power-loss"
    assert checks["audit"]["detail"] == "nothing is recorded: there is no audit log"
    assert checks["queue"]["detail"] == "0 crops of queries and 0 of enrolments wait"


class Usage(NamedTuple):
    """What `shutil.disk_usage` returns."""

    total: int
    used: int
    free: int


@pytest.mark.parametrize(("free_mib", "ready"), [(63, False), (64, True)])
def test_a_disk_with_less_than_64_mib_is_not_ready(
    http: httpx.Client, monkeypatch: pytest.MonkeyPatch, free_mib: int, ready: bool
) -> None:
    usage = Usage(10**12, 0, free_mib * 2**20)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    response = http.get("/readyz")
    assert (response.status_code == 200) == ready
    if not ready:
        reasons = problem_of(response, 503, "not_ready")["reasons"]
        assert reasons == ["disk: 63 MiB free; at least 64 are needed"]
    assert f"mpanet_data_free_bytes {usage.free}\n" in http.get("/metrics").text


def test_a_gallery_that_breaks_is_a_reason(
    http: httpx.Client, gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away() -> GalleryStats:
        raise StoreUnavailableError("gone")

    monkeypatch.setattr(gallery, "stats", away)
    problem = problem_of(http.get("/readyz"), 503, "not_ready")
    assert problem["reasons"] == ["store: the gallery does not answer"]


def test_a_gallery_that_hangs_is_waited_for_within_a_bound(
    http: httpx.Client, gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "STORE_S", 0.05)
    go_on, stats = threading.Event(), gallery.stats()

    def hanging() -> GalleryStats:
        assert go_on.wait(60)
        return stats

    monkeypatch.setattr(gallery, "stats", hanging)
    try:
        problem_of(http.get("/readyz"), 503, "not_ready")
        assert "mpanet_store_ready 0\n" in http.get("/metrics").text
    finally:
        go_on.set()


def test_a_service_that_stops_is_not_ready(
    settings: ServiceSettings, gallery: Gallery, encoder: Breakable
) -> None:
    app = create_app(settings, encoder, gallery)
    context = app.state.context
    assert isinstance(context, ServiceContext)
    with (
        running(app) as transport,
        httpx.Client(transport=transport, base_url="http://localhost") as http,
    ):
        context.embedder.admission.stop()
        problem = problem_of(http.get("/readyz"), 503, "not_ready")
        assert problem["reasons"] == ["accepting: the service is stopping"]


@pytest.fixture
def audit(tmp_path: Path) -> Iterator[AuditLog]:
    log = AuditLog.open(tmp_path / "audit", keep_days=1)
    yield log
    log.close()


def test_an_audit_log_that_cannot_be_written_is_a_reason(
    settings: ServiceSettings,
    gallery: Gallery,
    encoder: Breakable,
    audit: AuditLog,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def unwritable() -> None:
        raise AuditUnavailableError("no room")

    with (
        running(create_app(settings, encoder, gallery, audit=audit)) as transport,
        httpx.Client(transport=transport, base_url="http://localhost") as http,
    ):
        assert checks_of(http)["audit"]["detail"] == "can be written"
        assert "mpanet_audit_ready 1\n" in http.get("/metrics").text
        monkeypatch.setattr(audit, "check", unwritable)
        problem = problem_of(http.get("/readyz"), 503, "not_ready")
        assert problem["reasons"] == ["audit: cannot be written"]
        assert "mpanet_audit_ready 0\n" in http.get("/metrics").text
