"""Errors as `application/problem+json` (RFC 9457): the one table from exception to status code.

Every error of the service becomes an answer here, FastAPI's own ones included.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from gallery_index import errors as gallery
from model import errors as model
from service import errors as service
from service.bodies.fields import field_error, shown

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 1.0


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of problem: its status, the code that programs read, a title for people."""

    status: int
    code: str
    title: str


INTERNAL: Final = Kind(500, "internal_error", "The service broke down")
MALFORMED_REQUEST: Final = Kind(400, "malformed_request", "Not an HTTP request")
SLOW_REQUEST: Final = Kind(408, "slow_request", "The request did not arrive in time")
HEAD_TOO_LONG: Final = Kind(431, "head_too_long", "Too many bytes of headers")
TOO_MANY_CONNECTIONS: Final = Kind(503, "too_many_connections", "Too many connections")
TOO_MANY_BYTES: Final = Kind(413, "too_many_bytes", "Too many bytes")
INVALID_FIELDS: Final = Kind(422, "invalid_fields", "A field cannot be used")

OF_CONNECTIONS: Final = (MALFORMED_REQUEST, SLOW_REQUEST, HEAD_TOO_LONG, TOO_MANY_CONNECTIONS)
"""What a connection is answered before there is a request."""

KINDS: Final[Mapping[type[Exception], Kind]] = {
    service.KeyRequiredError: Kind(401, "key_required", "An API key is needed"),
    service.KeyUnknownError: Kind(401, "key_unknown", "The API key is not known"),
    service.RoleRequiredError: Kind(403, "role_required", "The API key may not do this"),
    service.CrossOriginError: Kind(403, "cross_origin", "From a page of another site"),
    service.SlowRequestError: SLOW_REQUEST,
    service.RateLimitedError: Kind(429, "rate_limited", "Too many requests"),
    gallery.EntryNotFoundError: Kind(404, "entry_not_found", "No such entry"),
    gallery.PersonNotFoundError: Kind(404, "person_not_found", "No such person"),
    service.ModelNotFoundError: Kind(404, "model_not_found", "No such model"),
    service.QueryNotFoundError: Kind(404, "query_not_found", "No such query"),
    service.JobNotFoundError: Kind(404, "job_not_found", "No such job"),
    service.AuditOffError: Kind(404, "audit_off", "No audit log is kept"),
    gallery.EntryConflictError: Kind(409, "entry_conflict", "The entry id is taken"),
    service.IdempotencyKeyReusedError: Kind(
        409, "idempotency_key_reused", "The idempotency key was used for something else"
    ),
    service.EvaluationGateError: Kind(409, "evaluation_gate", "Worse than the active model"),
    service.EvaluationFailedError: Kind(
        409, "evaluation_failed", "The evaluation set cannot be used"
    ),
    service.NoEarlierModelError: Kind(409, "no_earlier_model", "No earlier model"),
    service.RefreshRunningError: Kind(409, "refresh_running", "A refresh is under way"),
    service.GenerationKeptError: Kind(409, "generation_kept", "An earlier generation is kept"),
    service.EntriesWithoutCropError: Kind(
        409, "entries_without_crop", "Entries have no crop to embed anew"
    ),
    service.CropUnusableError: Kind(409, "crop_unusable", "A crop cannot be embedded"),
    service.RefreshUnsupportedError: Kind(
        409, "refresh_unsupported", "The gallery cannot be refreshed"
    ),
    service.BodyTooLargeError: TOO_MANY_BYTES,
    model.UnsupportedImageError: Kind(415, "unsupported_image", "Not an image that is read here"),
    service.UnsupportedContentError: Kind(
        415, "unsupported_content", "Not a body that is read here"
    ),
    service.InvalidFieldsError: INVALID_FIELDS,
    gallery.InvalidEntryError: INVALID_FIELDS,
    gallery.CursorError: Kind(422, "invalid_cursor", "The cursor cannot be used"),
    service.MalformedBodyError: Kind(422, "malformed_body", "The body cannot be taken apart"),
    service.InvalidArtifactError: Kind(422, "invalid_artifact", "The model cannot be used"),
    service.NotCalibratedError: Kind(422, "not_calibrated", "The model is not calibrated"),
    service.RateNotPromisedError: Kind(
        422, "rate_not_supported", "The calibration cannot support this rate"
    ),
    service.NotAvailableYetError: Kind(422, "not_available_yet", "Not available yet"),
    model.UndecodableImageError: Kind(422, "undecodable_image", "The image cannot be decoded"),
    model.ImageTooLargeError: Kind(422, "too_many_pixels", "Too many pixels"),
    service.ClientLeftError: Kind(499, "client_left", "The client left"),
    service.QueueFullError: Kind(503, "queue_full", "Too much is waiting"),
    service.DeadlineExceededError: Kind(503, "deadline_exceeded", "Too late to be of use"),
    service.ShuttingDownError: Kind(503, "shutting_down", "The service is stopping"),
    service.AuditUnavailableError: Kind(
        503, "audit_unavailable", "The audit log cannot be written"
    ),
    service.EncoderFailedError: Kind(503, "encoder_failed", "The encoder broke down"),
    service.NotReadyError: Kind(503, "not_ready", "Not ready"),
    gallery.StoreUnavailableError: Kind(503, "store_unavailable", "The store does not answer"),
    gallery.StoreConfigurationError: Kind(503, "store_unsafe", "The store would lose entries"),
    gallery.ModelChangedError: Kind(503, "model_changing", "The model is being changed"),
    gallery.CropNotKeptError: Kind(404, "crop_not_kept", "The crop was not kept"),
    gallery.GalleryCorruptError: Kind(500, "gallery_damaged", "Stored data is damaged"),
    gallery.GalleryError: Kind(503, "gallery_unavailable", "The gallery does not answer"),
    gallery.StorageFullError: Kind(507, "storage_full", "The disk is full"),
}


def kind_of(error: Exception) -> Kind:
    """Return the kind of an error: its own row of the table, its parent's, or a breakdown."""
    if isinstance(error, model.ImageTooLargeError) and error.what == "bytes":
        return TOO_MANY_BYTES
    return next((KINDS[type_] for type_ in type(error).__mro__ if type_ in KINDS), INTERNAL)


def problem(error: Exception, request_id: str) -> dict[str, Any]:
    """Return the problem document of an error; a breakdown tells the client no details."""
    kind = kind_of(error)
    detail = str(error)
    if kind is INTERNAL:
        detail = f"nothing is wrong with the request; the log has more under {request_id}"
    body = document(kind, detail, request_id)
    if isinstance(error, service.InvalidFieldsError):
        body["errors"] = error.errors
    if isinstance(error, service.NotReadyError):
        body["reasons"] = error.reasons
    if isinstance(error, service.EvaluationGateError):
        body["evaluation"] = error.evaluation
    if isinstance(error, service.EntriesWithoutCropError):
        body["entry_ids"] = error.entry_ids
    return body


def response_to(error: Exception, request_id: str) -> "ProblemResponse":
    """Return the answer to an error, with the headers that its status asks for.

    The error has come to its end: its traceback is dropped, for a frame that holds the error makes
    a ring, and the uploads in it would wait for the garbage collector.
    """
    error.__traceback__ = None
    body = problem(error, request_id)
    status = body["status"]
    headers = {}
    if status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = 'Bearer realm="mpanet"'
    if status in (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS):
        headers["Retry-After"] = str(retry_after_s(error))
    if status == HTTPStatus.REQUEST_TIMEOUT:
        headers["Connection"] = "close"  # the rest of the body may still be to come
    return ProblemResponse(body, status, headers)


class ProblemResponse(JSONResponse):
    """A problem document; leaves its code in the state of the request, for metrics and the log."""

    media_type = MEDIA_TYPE

    def __init__(
        self, body: dict[str, Any], status: int, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(body, status, headers)
        self._code = body["code"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer."""
        scope.setdefault("state", {})["problem_code"] = self._code
        await super().__call__(scope, receive, send)


def retry_after_s(error: Exception) -> int:
    """Return after how many whole seconds a client may come back, at least one."""
    return max(1, math.ceil(getattr(error, "retry_after_s", RETRY_AFTER_S)))


def install(app: FastAPI) -> None:
    """Let every error that a route raises become a problem document."""
    for type_ in (service.RequestError, gallery.GalleryError, model.ImageError):
        app.add_exception_handler(type_, _on_error)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http)


async def _on_error(request: Request, error: Exception) -> JSONResponse:
    if kind_of(error) is INTERNAL:
        raise error  # the edge logs it
    return response_to(error, request.state.request_id)


async def _on_invalid(request: Request, error: Exception) -> JSONResponse:
    """Answer FastAPI's own complaint about path and query fields."""
    assert isinstance(error, RequestValidationError)
    names = _query_names(request.scope["route"])
    fields = [field_error(detail, detail["loc"][1:], names) for detail in error.errors()]
    return response_to(service.InvalidFieldsError(fields), request.state.request_id)


def _query_names(route: APIRoute) -> list[str]:
    """Return the query fields that a route reads; they come as one model."""
    models = [field.field_info.annotation for field in route.dependant.query_params]
    return [name for model in models for name in getattr(model, "model_fields", ())]


async def _on_http(request: Request, error: Exception) -> JSONResponse:
    """Answer what the router refuses: an unknown path or method."""
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    kind = Kind(status, status.name.lower(), status.phrase)
    detail = f"{request.method} {shown(request.url.path)} is not a call of this service"
    body = document(kind, detail, request.state.request_id)
    return ProblemResponse(body, status, error.headers)


def document(kind: Kind, detail: str, request_id: str) -> dict[str, Any]:
    """Return the problem document of a kind."""
    return {
        "type": f"/docs#{kind.code}",
        "title": kind.title,
        "status": kind.status,
        "detail": detail,
        "code": kind.code,
        "request_id": request_id,
    }
