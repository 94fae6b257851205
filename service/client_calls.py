"""The calls of the HTTP contract, each described once: what is sent and what its answer is.

Sends nothing. `client` makes methods of these functions, one set that waits and one that awaits.
"""

import json
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar, Unpack
from urllib.parse import quote

import httpx

from service.client_answers import (
    AuditEvents,
    BatchResult,
    Comparison,
    Embedding,
    Entry,
    EntryChanges,
    Health,
    Job,
    Jobs,
    Modality,
    Model,
    Models,
    Page,
    QueryAnswer,
    Readiness,
    Receipt,
    Reclaimed,
    Who,
)
from service.client_errors import not_understood

T = TypeVar("T")
Names = str | Sequence[str]
Time = datetime | str
File = tuple[str, tuple[str, bytes]]

PUBLISH_TIMEOUT_S = 180.0
"""The service runs a model before it answers, one model at a time."""


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One request of the contract. `read` takes its answer apart.

    `repeatable`: may be sent again when the answer never came. `if_gone`: what the call returns
    where it was sent again and there is nothing any more; its first sending did it. `files`: parts
    that are read from the disk while they are sent. `timeout_s`: for answers that take their time,
    the least that is waited for the network.
    """

    method: str
    path: str
    read: Callable[[httpx.Response], T]
    content: Mapping[str, Any] = field(default_factory=dict)
    repeatable: bool = True
    if_gone: Callable[[], T] | None = None
    files: Mapping[str, Path] = field(default_factory=dict)
    timeout_s: float = 0.0

    @contextmanager
    def opened(self) -> Iterator[Mapping[str, Any]]:
        """Yield what one sending consists of, the files on the disk open meanwhile.

        Raises: OSError: one cannot be opened.
        """
        with ExitStack() as stack:
            files = [
                (name, (path.name, stack.enter_context(path.open("rb"))))
                for name, path in self.files.items()
            ]
            yield {**self.content, "files": files} if files else self.content


def enroll(
    crop: bytes,
    modality: Modality | str,
    *,
    person_id: str | None = None,
    camera_id: str | None = None,
    captured_at: Time | None = None,
    entry_id: str | None = None,
    attributes: Mapping[str, object] | str | None = None,
    idempotency_key: str | None = None,
) -> Call[Entry]:
    """Enrol one crop. Returns the entry.

    An Idempotency-Key is always sent, a fresh one where none is given: an answer that never came
    is asked for again and nothing is enrolled twice.
    """
    form = _form(
        modality=modality,
        person_id=person_id,
        camera_id=camera_id,
        captured_at=captured_at,
        entry_id=entry_id,
        attributes=attributes,
    )
    content = {"data": form, "files": [_file("file", crop)], "headers": _key(idempotency_key)}
    return Call("POST", "/gallery", _json, content)


def enroll_batch(
    crops: Sequence[bytes],
    entries: Sequence[Mapping[str, object]],
    *,
    idempotency_key: str | None = None,
) -> Call[list[BatchResult]]:
    """Enrol several crops, `entries` in their order. Returns the results in that order.

    `idempotency_key`: as for one crop; crops sent again under the key are to be at their places.
    """
    form = {"entries": json.dumps([_plain(entry) for entry in entries])}
    files = [_file("files", crop) for crop in crops]
    content = {"data": form, "files": files, "headers": _key(idempotency_key)}
    return Call("POST", "/gallery/batch", _results, content)


def query(
    crops: Sequence[bytes],
    modality: Modality | str,
    *,
    top_k: int | None = None,
    target_modality: Modality | Literal["any"] | None = None,
    person_id: Names | None = None,
    exclude_person_id: Names | None = None,
    camera_id: Names | None = None,
    exclude_camera_id: Names | None = None,
    captured_after: Time | None = None,
    captured_before: Time | None = None,
    attributes: Mapping[str, object] | str | None = None,
    group_by: Literal["entry", "person"] | None = None,
    rerank: bool | None = None,
    explain: bool | None = None,
    min_similarity: float | None = None,
    max_false_accept_rate: float | None = None,
) -> Call[QueryAnswer]:
    """Search with the crops of one person. Returns the matches, best first.

    A list gives a name several times, as `camera_id=["1", "2"]`.
    """
    form = _form(
        modality=modality,
        top_k=top_k,
        target_modality=target_modality,
        person_id=person_id,
        exclude_person_id=exclude_person_id,
        camera_id=camera_id,
        exclude_camera_id=exclude_camera_id,
        captured_after=captured_after,
        captured_before=captured_before,
        attributes=attributes,
        group_by=group_by,
        rerank=rerank,
        explain=explain,
        min_similarity=min_similarity,
        max_false_accept_rate=max_false_accept_rate,
    )
    content = {"data": form, "files": [_file("file", crop) for crop in crops]}
    return Call("POST", "/query", _json, content)


def patterns(query_id: str, entry_id: str, crop: int = 1) -> Call[bytes]:
    """Return a picture (PNG) of what made an entry a match, for a query asked with `explain`.

    `crop` says which crop of the query, from 1.
    """
    params = {"entry_id": entry_id, "crop": crop}
    path = f"/queries/{_quoted(query_id)}/patterns.png"
    return Call("GET", path, _bytes, {"params": params})


def embed(crop: bytes, modality: Modality | str) -> Call[Embedding]:
    """Return the embedding of a crop."""
    content = {"data": _form(modality=modality), "files": [_file("file", crop)]}
    return Call("POST", "/embed", _json, content)


def compare(
    crops: tuple[bytes, bytes],
    modalities: tuple[Modality | str, Modality | str],
    *,
    max_false_accept_rate: float | None = None,
) -> Call[Comparison]:
    """Return how alike two crops are, and whether that is enough for a false-accept rate."""
    form = _form(modality=modalities, max_false_accept_rate=max_false_accept_rate)
    files = [_file("file", crop) for crop in crops]
    return Call("POST", "/compare", _json, {"data": form, "files": files})


def get(entry_id: str) -> Call[Entry]:
    """Return one entry."""
    return Call("GET", f"/gallery/{_quoted(entry_id)}", _json)


def crop(entry_id: str) -> Call[bytes]:
    """Return the bytes of a crop as they were enrolled."""
    return Call("GET", f"/gallery/{_quoted(entry_id)}/crop", _bytes)


def page(
    *,
    limit: int | None = None,
    cursor: str | None = None,
    person_id: Names | None = None,
    camera_id: Names | None = None,
    modality: Modality | None = None,
    captured_after: Time | None = None,
    captured_before: Time | None = None,
    attributes: Mapping[str, object] | str | None = None,
) -> Call[Page]:
    """Return a page of entries in the order of enrolment; `cursor` is its `next_cursor`."""
    params = _form(
        limit=limit,
        cursor=cursor,
        person_id=person_id,
        camera_id=camera_id,
        modality=modality,
        captured_after=captured_after,
        captured_before=captured_before,
        attributes=attributes,
    )
    return Call("GET", "/gallery", _json, {"params": params})


def update(entry_id: str, **changes: Unpack[EntryChanges]) -> Call[Entry]:
    """Change fields of an entry; None clears one. Returns the entry."""
    return Call("PATCH", f"/gallery/{_quoted(entry_id)}", _json, {"json": _plain(changes)})


def delete(entry_id: str) -> Call[None]:
    """Erase one entry."""
    return Call("DELETE", f"/gallery/{_quoted(entry_id)}", _nothing, if_gone=_none)


def erase_person(person_id: str) -> Call[Receipt]:
    """Erase every entry of a person. Returns the receipt.

    Where the answer was lost and nothing is left when it is asked for again, the receipt counts
    nothing and has no time; the service's audit log has the one that was lost.
    """

    def lost() -> Receipt:
        return {
            "person_id": person_id,
            "entry_ids": [],
            "entries": 0,
            "vectors": 0,
            "crops": 0,
            "erased_at": None,
        }

    return Call("DELETE", f"/persons/{_quoted(person_id)}", _json, if_gone=lost)


def models() -> Call[Models]:
    """Return the models that the service has."""
    return Call("GET", "/models", _json)


def model(model_id: str) -> Call[Model]:
    """Return one model."""
    return Call("GET", f"/models/{_quoted(model_id)}", _json)


def publish_model(directory: Path) -> Call[Model]:
    """Publish the model in a directory, read while it is sent. Returns it.

    A model that the service has already is returned as it is there. Raises: OSError: a file cannot
    be read.
    """
    files = {"manifest": directory / "manifest.json", "model": directory / "model.onnx"}
    return Call("POST", "/models", _json, files=files, timeout_s=PUBLISH_TIMEOUT_S)


def activate(
    model_id: str,
    *,
    override: Sequence[str] = (),
    entries_without_crop: Literal["erase", "leave_out"] | None = None,
    reclaim_kept: bool = False,
) -> Call[Model | Job]:
    """Make a model the active one. Returns the job that does it, or the model if it is active.

    `override`: checks that it need not pass. `entries_without_crop`: what becomes of entries that
    cannot be embedded anew. `reclaim_kept`: give up what a rollback would go back to.
    """
    given: dict[str, object] = {
        "override": list(override),
        "entries_without_crop": entries_without_crop,
        "reclaim_kept": reclaim_kept,
    }
    body = {name: value for name, value in given.items() if value}
    content = {"json": body} if body else {}
    return Call("POST", f"/models/{_quoted(model_id)}/activate", _json, content)


def rollback() -> Call[Model]:
    """Go back to the model before. Returns it. Not sent again when the answer never came."""
    return Call("POST", "/models/rollback", _json, repeatable=False)


def reclaim() -> Call[Reclaimed]:
    """Give up the vectors that a rollback would go back to. Returns whose they were."""
    return Call("POST", "/models/reclaim", _json, repeatable=False)


def calibrate(model_id: str) -> Call[Job]:
    """Calibrate the active model anew, from the gallery's own person ids. Returns the job."""
    return Call("POST", f"/models/{_quoted(model_id)}/calibrate", _json, repeatable=False)


def jobs() -> Call[Jobs]:
    """Return the last jobs, newest first."""
    return Call("GET", "/jobs", _json)


def cancel(job_id: str) -> Call[Job]:
    """End a job that runs. Returns it."""
    return Call("DELETE", f"/jobs/{_quoted(job_id)}", _json)


def job(job_id: str) -> Call[Job]:
    """Return how far a job is."""
    return Call("GET", f"/jobs/{_quoted(job_id)}", _json)


def whoami() -> Call[Who]:
    """Return whose key this is, and what it may do."""
    return Call("GET", "/whoami", _json)


def audit(
    *,
    caller: str | None = None,
    call: str | None = None,
    person_id: str | None = None,
    entry_id: str | None = None,
    request_id: str | None = None,
    status: int | None = None,
    code: str | None = None,
    after: Time | None = None,
    before: Time | None = None,
    limit: int | None = None,
    cursor: str | None = None,
) -> Call[AuditEvents]:
    """Return a page of the audit log, newest first; `cursor` is its `next_cursor`."""
    params = _form(
        caller=caller,
        call=call,
        person_id=person_id,
        entry_id=entry_id,
        request_id=request_id,
        status=status,
        code=code,
        after=after,
        before=before,
        limit=limit,
        cursor=cursor,
    )
    return Call("GET", "/audit", _json, {"params": params})


def health() -> Call[Health]:
    """Return whether the process answers; needs no key."""
    return Call("GET", "/healthz", _json)


def ready() -> Call[Readiness]:
    """Return the state of the service. Raises: ServiceError while it is not ready."""
    return Call("GET", "/readyz", _json)


def metrics() -> Call[str]:
    """Return the metrics, in the text format of Prometheus."""
    return Call("GET", "/metrics", _text)


def openapi() -> Call[dict[str, Any]]:
    """Return the OpenAPI document of the service."""
    return Call("GET", "/openapi.json", _json)


def _json(response: httpx.Response) -> Any:
    try:
        body = response.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise not_understood(response)
    return body


def _results(response: httpx.Response) -> list[BatchResult]:
    results: object = _json(response).get("results")
    if not isinstance(results, list):
        raise not_understood(response)
    return results


def _bytes(response: httpx.Response) -> bytes:
    return response.content


def _text(response: httpx.Response) -> str:
    return response.text


def _nothing(response: httpx.Response) -> None:
    return None


def _none() -> None:
    return None


def _key(given: str | None) -> dict[str, str]:
    return {"Idempotency-Key": uuid.uuid4().hex if given is None else given}


def _file(name: str, crop: bytes) -> File:
    return name, ("crop", crop)


def _form(**fields: object) -> dict[str, str | list[str]]:
    """Return fields as a form has them; a list repeats its field, None leaves it out."""
    return {
        name: [_shown(item) for item in value] if isinstance(value, list | tuple) else _shown(value)
        for name, value in _plain(fields).items()
        if value is not None
    }


def _shown(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _plain(fields: Mapping[str, object]) -> dict[str, object]:
    return {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in fields.items()
    }


def _quoted(name: str) -> str:
    return quote(name, safe="")
