"""What the service itself refuses, as one tree. Status codes are in `problems.py`.

RequestError
├── InvalidFieldsError          a field that is missing, unknown or ill-typed; lists each one
├── MalformedBodyError          a body that cannot be taken apart
├── BodyTooLargeError           more bytes than allowed
├── UnsupportedContentError     a body of another content type than the call reads
├── NotAvailableYetError        a field or a call of the contract that is not built yet
├── KeyRequiredError            no API key came
├── KeyUnknownError             a key came that is not one of ours
├── ModelNotFoundError          no model of this id
├── NoEarlierModelError         nothing to roll back to
├── JobNotFoundError            no job of this id
├── QueueFullError              too many crops wait for the encoder
├── EncoderFailedError          the encoder broke down under this request
├── NotReadyError               a part of the service cannot work now; lists why
└── ClientLeftError             the client closed the connection; nobody reads the answer
"""

from collections.abc import Sequence
from typing import TypedDict


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
        super().__init__(
            "; ".join(
                f"{error['field']}: expected {error['expected']}, came {error['came']}"
                for error in errors
            )
        )
        self.errors = list(errors)


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


class NoEarlierModelError(RequestError):
    """There is no earlier model to go back to."""


class JobNotFoundError(RequestError):
    """There is no job with this id."""


class QueueFullError(RequestError):
    """As many crops wait for the encoder as may wait."""


class EncoderFailedError(RequestError):
    """The encoder broke down under this request; it is started again for the next one."""


class NotReadyError(RequestError):
    """The service cannot do its work now."""

    def __init__(self, reasons: Sequence[str]) -> None:
        super().__init__("; ".join(reasons))
        self.reasons = list(reasons)


class ClientLeftError(RequestError):
    """The client closed the connection before it got its answer."""
