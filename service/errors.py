"""What the service itself refuses, as one tree. Status codes are in `problems.py`.

RequestError
├── InvalidFieldsError          a field that is missing, unknown or ill-typed; lists each one
├── MalformedBodyError          a body that cannot be taken apart
├── BodyTooLargeError           more bytes than allowed
├── UnsupportedContentError     a body of another content type than the call reads
├── NotAvailableYetError        a field or a call of the contract that is not built yet
├── KeyRequiredError            no API key came
├── KeyUnknownError             a key came that is not one of ours, or is revoked or expired
├── RoleRequiredError           the key's roles do not allow the call
├── CrossOriginError            a page of another site sent the request
├── IdempotencyKeyReusedError   the Idempotency-Key came with other crops before
├── SlowRequestError            the request did not arrive in time
├── ModelNotFoundError          no model of this id
├── QueryNotFoundError          no query of this id that may be looked into
├── InvalidArtifactError        a model that may not be served; says why
├── EvaluationGateError         a model is worse than the active one; has the figures of both
├── EvaluationFailedError       the evaluation set cannot be used
├── NotCalibratedError          a rate is asked of a model that has no calibration for it
├── RateNotPromisedError        a rate lower than the data of the calibration can support
├── NoEarlierModelError         nothing to roll back to
├── JobNotFoundError            no job of this id
├── AuditOffError               the service keeps no audit log
├── RefreshConflictError        a refresh cannot begin or go on, as things stand
│   ├── RefreshRunningError     another one is under way
│   ├── GenerationKeptError     an earlier generation is kept, and has to be reclaimed first
│   ├── EntriesWithoutCropError entries cannot be embedded anew, and nobody said what to do; lists
│   ├── RefreshUnsupportedError this gallery cannot be refreshed
│   └── CropUnusableError       a crop that is as it was enrolled cannot be embedded by the model
├── RetryLaterError             not now; says after how many seconds to come back
│   ├── RateLimitedError        the key has made as many requests as it may
│   ├── QueueFullError          as much is under way as may be
│   ├── DeadlineExceededError   the answer would have come too late
│   ├── EncoderFailedError      the encoder broke down under this request
│   ├── ShuttingDownError       the service is stopping
│   ├── AuditUnavailableError   the audit log cannot be written, so nothing is done unrecorded
│   └── NotReadyError           a part of the service cannot work now; lists why
└── ClientLeftError             the client closed the connection; nobody reads the answer
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

MAX_FIELD_ERRORS = 20
"""How many wrong fields are named: an answer is not many times as long as its request."""

MAX_ENTRY_IDS = 100
"""How many entries an error names."""


class FieldError(TypedDict):
    """One field that cannot be used: its name, what was expected and what came."""

    field: str
    expected: str
    came: str


class RequestError(Exception):
    """Anything about a request that the service refuses."""


class InvalidFieldsError(RequestError):
    """Fields are missing, unknown or ill-typed."""

    def __init__(self, errors: Sequence[FieldError]) -> None:
        self.errors = list(errors[:MAX_FIELD_ERRORS])
        more = len(errors) - len(self.errors)
        lines = [
            f"{error['field']}: expected {error['expected']}, came {error['came']}"
            for error in self.errors
        ]
        super().__init__("; ".join([*lines, f"and {more} more"] if more else lines))


class MalformedBodyError(RequestError):
    """The body cannot be taken apart."""


class BodyTooLargeError(RequestError):
    """The body or one of its files has more bytes than allowed."""


class UnsupportedContentError(RequestError):
    """The body is of another content type than the call reads."""


class NotAvailableYetError(RequestError):
    """A field or a call of the contract that this version does not offer yet."""


class KeyRequiredError(RequestError):
    """The service has API keys and none came."""


class KeyUnknownError(RequestError):
    """The API key that came is not one of the service's."""


class ModelNotFoundError(RequestError):
    """There is no model with this id."""


class InvalidArtifactError(RequestError):
    """A model directory that may not be served; the message says what is wrong with it."""


class EvaluationGateError(RequestError):
    """A model is worse than the active one by more than it may be."""

    def __init__(self, message: str, evaluation: Mapping[str, Any]) -> None:
        """`evaluation`: the figures of both, as JSON has them."""
        super().__init__(message)
        self.evaluation = evaluation


class EvaluationFailedError(RequestError):
    """The evaluation set cannot be used; the message names what of it."""


class QueryNotFoundError(RequestError):
    """There is no query of this id that may be looked into, or not by this key."""


class NotCalibratedError(RequestError):
    """A false-accept rate is asked for of pairs that the model is not calibrated for."""


class RateNotPromisedError(RequestError):
    """A false-accept rate that the calibration cannot support; says which it can."""


class NoEarlierModelError(RequestError):
    """There is no earlier model to go back to."""


class JobNotFoundError(RequestError):
    """There is no job with this id."""


class RefreshConflictError(RequestError):
    """A refresh cannot begin, as the gallery stands or as it was asked for."""


class RefreshRunningError(RefreshConflictError):
    """Another refresh is under way."""


class GenerationKeptError(RefreshConflictError):
    """An earlier generation is kept, and has to be reclaimed first."""


class EntriesWithoutCropError(RefreshConflictError):
    """Entries cannot be embedded anew for want of a sound crop, and nobody said what to do."""

    def __init__(self, entry_ids: Sequence[str]) -> None:
        self.count = len(entry_ids)
        self.entry_ids = list(entry_ids[:MAX_ENTRY_IDS])
        super().__init__(
            f"{self.count} entries have no sound crop to embed anew:"
            " say entries_without_crop `erase` or `leave_out`"
        )


class CropUnusableError(RefreshConflictError):
    """A crop that is as it was enrolled cannot be embedded by the model."""


class RefreshUnsupportedError(RefreshConflictError):
    """The gallery of this service cannot be refreshed."""


class RoleRequiredError(RequestError):
    """The API key is known, but its roles do not allow the call."""


class CrossOriginError(RequestError):
    """A browser sent the request for a page of another site."""


class IdempotencyKeyReusedError(RequestError):
    """The Idempotency-Key came with other crops before."""


class SlowRequestError(RequestError):
    """The request did not arrive in time."""


class RetryLaterError(RequestError):
    """The service cannot do it now, but may later."""

    def __init__(self, message: str, *, retry_after_s: float = 1.0) -> None:
        """Ask the client to come back after so many seconds."""
        super().__init__(message)
        self.retry_after_s = retry_after_s


class RateLimitedError(RetryLaterError):
    """The API key has made as many requests as it may for now."""


class QueueFullError(RetryLaterError):
    """As many crops or bytes are under way as may be."""


class DeadlineExceededError(RetryLaterError):
    """The request could not be answered within its deadline."""


class EncoderFailedError(RetryLaterError):
    """The encoder broke down under this request; it is started again for the next one."""


class ShuttingDownError(RetryLaterError):
    """The service is stopping and takes nothing new."""


class AuditOffError(RequestError):
    """The service keeps no audit log."""


class AuditUnavailableError(RetryLaterError):
    """The audit log cannot be written; nothing is done that it would not show."""


class NotReadyError(RetryLaterError):
    """The service cannot do its work now."""

    def __init__(self, reasons: Sequence[str]) -> None:
        super().__init__("; ".join(reasons))
        self.reasons = list(reasons)


class ClientLeftError(RequestError):
    """The client closed the connection before it got its answer."""
