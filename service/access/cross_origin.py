"""Requests that a browser sends for a page of another site: what tells them, and their refusal.

Browsers let any page send requests anywhere, also to this machine. A page of another site shows in
`Origin` and `Sec-Fetch-Site`, which it cannot forge; one whose host name was made to lead here
(DNS rebinding) shows in `Host`.
Source: Fetch Standard, sections 3.1 (Origin) and 3.2; Fetch Metadata, section 2.
"""

import re
from collections.abc import Mapping
from typing import Final

from service.errors import CrossOriginError
from service.settings import is_loopback

READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing; other sites cannot read what they answer."""
_BRACKETED: Final = re.compile(r"\[([^]]*)\](?::\d*)?")


def refuse_cross_origin(method: str, headers: Mapping[bytes, bytes]) -> None:
    """Refuse to change anything for a page of another site. Raises: CrossOriginError.

    `headers` has the fields `origin`, `host` and `sec-fetch-site` as far as they came.
    """
    if method in READING:
        return
    if headers.get(b"sec-fetch-site", b"").strip().lower() == b"cross-site":
        raise CrossOriginError("expected a request of this site's pages, came a cross-site one")
    origin = headers.get(b"origin")
    if origin is not None and _host_of(origin) != headers.get(b"host", b"").strip().lower():
        raise CrossOriginError(
            f"expected a request of this site's pages, came one of {origin.decode('latin-1')!r}"
        )


def refuse_other_hosts(headers: Mapping[bytes, bytes]) -> None:
    """Refuse a name that is not this machine's own. Raises: CrossOriginError.

    A request without a Host is no browser's. The answer does not repeat what came.
    """
    host = headers.get(b"host", b"").decode("latin-1").strip().lower()
    if host and not is_loopback(_without_port(host)):
        raise CrossOriginError(
            "expected the host localhost, 127.0.0.1 or [::1], as the service has no API keys;"
            " another one came"
        )


def _host_of(origin: bytes) -> bytes:
    """Return host and port of an origin; `null` has none."""
    return origin.partition(b"://")[2].strip().lower()


def _without_port(host: str) -> str:
    name = _BRACKETED.fullmatch(host)
    return name[1] if name else host.partition(":")[0]
