"""The Idempotency-Key of an enrolment: a retry finds what its first sending left behind.

Nothing is kept for it: a crop without an entry id of its own gets one made from the caller, the
key and the crop's position in the request. So it holds after a restart, in every replica, and for
as long as the entry is there.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Final

from fastapi import Request

from service.access.caller import Caller
from service.bodies.fields import shown
from service.errors import IdempotencyKeyReusedError, InvalidFieldsError

HEADER: Final = "Idempotency-Key"
MAX_KEY_LENGTH: Final = 255
ID_PREFIX: Final = "idem-"
DIGITS: Final = 32
_KEY: Final = re.compile(rf"[ -~]{{1,{MAX_KEY_LENGTH}}}")


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """A key and whose it is: two callers may use the same text."""

    caller: str
    text: str

    def entry_id(self, position: int) -> str:
        """Return the entry id of the crop at a position of the request, from 0."""
        said = json.dumps([self.caller, self.text, position]).encode()
        return ID_PREFIX + hashlib.sha256(said).hexdigest()[:DIGITS]

    def reused(self, position: int) -> IdempotencyKeyReusedError:
        """Return the error of another crop at a position that had one before."""
        return IdempotencyKeyReusedError(
            f"{HEADER} {shown(self.text)}, position {position}: expected the crop and modality"
            " that came first under this key, came others"
        )


def idempotency_key(request: Request) -> IdempotencyKey | None:
    """Return the key of a request; None: it has none. Raises: InvalidFieldsError."""
    given = request.headers.getlist(HEADER)
    if not given:
        return None
    if len(given) > 1 or not _KEY.fullmatch(given[0]):
        came = shown(given[0]) if len(given) == 1 else f"{len(given)} of them"
        expected = f"one key of 1 to {MAX_KEY_LENGTH} printable ASCII characters"
        raise InvalidFieldsError([{"field": HEADER, "expected": expected, "came": came}])
    caller = request.state.caller
    assert isinstance(caller, Caller)
    return IdempotencyKey(caller.name, given[0])
