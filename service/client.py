"""`ServiceClient`: the HTTP contract as Python methods.

Used by `mpanet enroll`, `mpanet query` and the tests. Retries what is safe to retry, as often and
as late as the service asks.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any
from urllib.parse import quote

import httpx

JsonObject = dict[str, Any]
MAX_RETRIES = 5
MAX_WAIT_S = 30.0
RETRIED = frozenset({429, 503})


class ServiceError(Exception):
    """The service refused a call, or could not be reached (status 0)."""

    def __init__(self, problem: Mapping[str, Any]) -> None:
        self.problem = dict(problem)
        self.status = int(problem.get("status", 0))
        self.code = str(problem.get("code", ""))
        self.detail = str(problem.get("detail", ""))
        super().__init__(f"{self.status} {self.code}: {self.detail}")


class ServiceClient:
    """Speaks to one running service; close it, or use it in a `with`."""

    def __init__(
        self,
        url: str,
        api_key: str | None = None,
        *,
        timeout_s: float = 60.0,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        """Without a key only a service that asks for none will answer."""
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._http = httpx.Client(
            base_url=url, headers=headers, timeout=timeout_s, transport=transport
        )
        self._sleep = sleep

    def __enter__(self) -> "ServiceClient":
        """Return the client itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connections."""
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def enroll(self, crop: bytes, modality: str, **fields: object) -> JsonObject:
        """Enrol one crop; `fields` are those of `POST /gallery`. Returns the entry.

        A crop without an `entry_id` is not sent again after an answer that never came.
        """
        form = _form({"modality": modality, **fields})
        return self._json("POST", "/gallery", data=form, files=[_file("file", crop)])

    def enroll_batch(
        self, crops: Sequence[bytes], entries: Sequence[Mapping[str, object]]
    ) -> list[JsonObject]:
        """Enrol several crops, `entries` in their order. Returns the results in that order."""
        form = {"entries": json.dumps([_plain(entry) for entry in entries])}
        files = [_file("files", crop) for crop in crops]
        results = self._json("POST", "/gallery/batch", data=form, files=files)["results"]
        assert isinstance(results, list)
        return results

    def query(self, crops: Sequence[bytes], modality: str, **fields: object) -> JsonObject:
        """Search with the crops of one person; `fields` are those of `POST /query`.

        A list gives a field several times, as `camera_id=["1", "2"]`.
        """
        form = _form({"modality": modality, **fields})
        return self._json("POST", "/query", data=form, files=[_file("file", c) for c in crops])

    def embed(self, crop: bytes, modality: str) -> JsonObject:
        """Return the embedding of a crop."""
        form = {"modality": modality}
        return self._json("POST", "/embed", data=form, files=[_file("file", crop)])

    def compare(self, crops: tuple[bytes, bytes], modalities: tuple[str, str]) -> JsonObject:
        """Return how alike two crops are."""
        form = _form({"modality": modalities})
        return self._json("POST", "/compare", data=form, files=[_file("file", c) for c in crops])

    def get(self, entry_id: str) -> JsonObject:
        """Return one entry."""
        return self._json("GET", f"/gallery/{_quoted(entry_id)}")

    def crop(self, entry_id: str) -> bytes:
        """Return the bytes of a crop as they were enrolled."""
        return self._send("GET", f"/gallery/{_quoted(entry_id)}/crop").content

    def list(self, *, limit: int = 1000, **filters: object) -> Iterator[JsonObject]:
        """Yield entries in the order of enrolment, all pages of them."""
        params = _form({"limit": limit, **filters})
        while True:
            page = self._json("GET", "/gallery", params=params)
            yield from page["entries"]
            if page["next_cursor"] is None:
                return
            params["cursor"] = page["next_cursor"]

    def update(self, entry_id: str, **changes: object) -> JsonObject:
        """Change fields of an entry; None clears one. Returns the entry."""
        return self._json("PATCH", f"/gallery/{_quoted(entry_id)}", json=_plain(changes))

    def delete(self, entry_id: str) -> None:
        """Erase one entry."""
        self._send("DELETE", f"/gallery/{_quoted(entry_id)}")

    def erase_person(self, person_id: str) -> JsonObject:
        """Erase every entry of a person. Returns the receipt."""
        return self._json("DELETE", f"/persons/{_quoted(person_id)}")

    def models(self) -> JsonObject:
        """Return the models that the service has."""
        return self._json("GET", "/models")

    def ready(self) -> JsonObject:
        """Return the state of the service. Raises: ServiceError while it is not ready."""
        return self._json("GET", "/readyz")

    def _json(self, method: str, path: str, **content: Any) -> JsonObject:
        answer = self._send(method, path, **content).json()
        assert isinstance(answer, dict)
        return answer

    def _send(self, method: str, path: str, **content: Any) -> httpx.Response:
        """Send a request; a refusal that asks to come back is obeyed, up to MAX_RETRIES times.

        Raises: ServiceError.
        """
        for attempt in range(MAX_RETRIES + 1):
            try:
                response = self._http.request(method, path, **content)
            except httpx.HTTPError as error:
                raise ServiceError(
                    {
                        "status": 0,
                        "code": "unreachable",
                        "detail": f"{self._http.base_url}: {error}",
                    }
                ) from error
            if response.is_success:
                return response
            wait_s = _wait_s(response)
            if wait_s is None or attempt == MAX_RETRIES:
                raise ServiceError(_problem(response))
            self._sleep(wait_s)
        raise AssertionError("unreachable")


def _wait_s(response: httpx.Response) -> float | None:
    """Return how long the service asks to wait; None: it does not ask, or for too long."""
    asked = response.headers.get("Retry-After", "")
    if response.status_code not in RETRIED or not asked.isdecimal() or float(asked) > MAX_WAIT_S:
        return None
    return float(asked)


def _problem(response: httpx.Response) -> Mapping[str, Any]:
    if response.headers.get("Content-Type", "").startswith("application/problem+json"):
        body = response.json()
        if isinstance(body, dict):
            return body
    return {"status": response.status_code, "code": "", "detail": response.text[:200]}


def _file(field: str, crop: bytes) -> tuple[str, tuple[str, bytes]]:
    return field, ("crop", crop)


def _form(fields: Mapping[str, object]) -> dict[str, str | list[str]]:
    """Return fields as a form has them; a list repeats its field, None leaves it out."""
    return {
        name: [_text(item) for item in value] if isinstance(value, list | tuple) else _text(value)
        for name, value in _plain(fields).items()
        if value is not None
    }


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _plain(fields: Mapping[str, object]) -> dict[str, object]:
    return {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in fields.items()
    }


def _quoted(name: str) -> str:
    return quote(name, safe="")
