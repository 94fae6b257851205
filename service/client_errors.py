"""`ServiceError`: what a client raises, whatever went wrong."""

from collections.abc import Mapping
from typing import Any, Final

import httpx

PROBLEM_TYPE: Final = "application/problem+json"
MAX_TEXT = 200
"""How much is kept of an answer that is no problem document, a proxy's page perhaps."""


class ServiceError(Exception):
    """The service refused a call (`status`, `code`, `detail`), or could not be reached (0)."""

    def __init__(self, problem: Mapping[str, Any]) -> None:
        self.problem = dict(problem)
        self.status = int(problem.get("status", 0))
        self.code = str(problem.get("code", ""))
        self.detail = str(problem.get("detail", ""))
        self.request_id = str(problem.get("request_id", ""))
        super().__init__(f"{self.status} {self.code}: {self.detail}")


def refusal(response: httpx.Response) -> ServiceError:
    """Return the error that an answer stands for."""
    if response.headers.get("Content-Type", "").startswith(PROBLEM_TYPE):
        body = _object(response)
        if body is not None:
            return ServiceError(body)
    text = response.text[:MAX_TEXT]
    return ServiceError({"status": response.status_code, "code": "", "detail": text})


def unreachable(address: str, error: httpx.TransportError) -> ServiceError:
    """Return the error of a service from which no answer came."""
    reason = str(error) or type(error).__name__
    return ServiceError({"status": 0, "code": "unreachable", "detail": f"{address}: {reason}"})


def not_understood(response: httpx.Response) -> ServiceError:
    """Return the error of an answer that is not of this contract."""
    kind = response.headers.get("Content-Type", "no content type")
    detail = f"expected an answer of the service, came {kind}: {response.text[:MAX_TEXT]}"
    return ServiceError(
        {"status": response.status_code, "code": "not_understood", "detail": detail}
    )


def _object(response: httpx.Response) -> dict[str, Any] | None:
    try:
        body = response.json()
    except ValueError:
        return None
    return body if isinstance(body, dict) and type(body.get("status")) is int else None
