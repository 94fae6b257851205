"""The fields that clients send: their types, limits and what is said about a wrong one.

Forms and JSON share these types: a form sends every value as text. Knows nothing of requests.
"""

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
)
from pydantic_core import ErrorDetails, from_json

from gallery_index.records import JsonScalar, JsonValue
from service.errors import FieldError, InvalidFieldsError

MAX_NAME_LENGTH = 128
MAX_ATTRIBUTES_BYTES = 16 * 1024
MAX_ATTRIBUTES_DEPTH = 8
MAX_NAMES = 64
MAX_TOP_K = 1000
MAX_LIMIT = 1000

_ENTRY_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,18}")
_RFC_3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})"
)


def _name(value: object) -> str:
    if isinstance(value, str) and 1 <= len(value) <= MAX_NAME_LENGTH and value.isprintable():
        return value
    raise ValueError(f"text of 1 to {MAX_NAME_LENGTH} printable characters")


def _names(value: object) -> list[str]:
    names = [value] if isinstance(value, str) else value
    if isinstance(names, list) and 1 <= len(names) <= MAX_NAMES:
        return [_name(name) for name in names]
    raise ValueError(f"1 to {MAX_NAMES} names")


def _entry_id(value: object) -> str:
    if isinstance(value, str) and _ENTRY_ID.fullmatch(value):
        return value
    raise ValueError(
        f"1 to {MAX_NAME_LENGTH} of the characters A-Z a-z 0-9 . _ : -, the first a letter or digit"
    )


def _time(value: object) -> datetime:
    text = value.upper() if isinstance(value, str) else ""
    if _RFC_3339.fullmatch(text):
        try:
            return datetime.fromisoformat(text).astimezone(UTC)
        except (ValueError, OverflowError):
            pass
    raise ValueError("a time as in RFC 3339 with its offset, such as 2026-11-23T22:15:00+01:00")


def _whole(low: int, high: int) -> Callable[[object], int]:
    def parse(value: object) -> int:
        if isinstance(value, str) and _WHOLE_NUMBER.fullmatch(value):
            value = int(value)
        if type(value) is int and low <= value <= high:
            return value
        raise ValueError(f"a whole number from {low} to {high}")

    return parse


def _real(low: float, high: float) -> Callable[[object], float]:
    def parse(value: object) -> float:
        try:
            number = float(value) if isinstance(value, str | int | float) else math.nan
        except (ValueError, OverflowError):
            number = math.nan
        if low <= number <= high and not isinstance(value, bool):
            return number
        raise ValueError(f"a number from {low:g} to {high:g}")

    return parse


def _truth(value: object) -> bool:
    if isinstance(value, bool):
        return value
    text = value.lower() if isinstance(value, str) else None
    if text in ("true", "1"):
        return True
    if text in ("false", "0"):
        return False
    raise ValueError("true or false")


def _attributes(value: object) -> dict[str, JsonValue]:
    if isinstance(value, str):
        try:
            value = from_json(value, allow_inf_nan=False)
        except ValueError:
            value = None
    if (
        isinstance(value, dict)
        and _storable(value, MAX_ATTRIBUTES_DEPTH)
        and len(json.dumps(value)) <= MAX_ATTRIBUTES_BYTES
    ):
        return value
    raise ValueError(
        f"a JSON object of at most {MAX_ATTRIBUTES_BYTES} bytes and {MAX_ATTRIBUTES_DEPTH} levels"
    )


def _attribute_filter(value: object) -> dict[str, JsonScalar]:
    with suppress(ValueError):
        wanted = _attributes(value)
        if not any(isinstance(item, dict | list) for item in wanted.values()):
            return wanted  # type: ignore[return-value]  # what is left of JSON are scalars
    raise ValueError(
        f"a JSON object of at most {MAX_ATTRIBUTES_BYTES} bytes whose values are text, numbers,"
        " true, false or null"
    )


def _storable(value: object, levels: int) -> bool:
    """Whether a parsed JSON value can be stored and written out again as it came."""
    if isinstance(value, dict):
        return levels > 0 and all(
            _storable(key, 0) and _storable(item, levels - 1) for key, item in value.items()
        )
    if isinstance(value, list):
        return levels > 0 and all(_storable(item, levels - 1) for item in value)
    if isinstance(value, str):
        return not any("\ud800" <= character <= "\udfff" for character in value)
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or (isinstance(value, int) and abs(value) < 2**63)


ModalityName = Literal["visible", "infrared"]
Name = Annotated[str, Field(max_length=MAX_NAME_LENGTH), BeforeValidator(_name)]
Names = Annotated[list[Name], Field(min_length=1, max_length=MAX_NAMES), BeforeValidator(_names)]
EntryId = Annotated[str, Field(pattern=f"^{_ENTRY_ID.pattern}$"), BeforeValidator(_entry_id)]
Time = Annotated[datetime, BeforeValidator(_time)]
Truth = Annotated[bool, BeforeValidator(_truth)]
TopK = Annotated[int, Field(ge=1, le=MAX_TOP_K), BeforeValidator(_whole(1, MAX_TOP_K))]
Limit = Annotated[int, Field(ge=1, le=MAX_LIMIT), BeforeValidator(_whole(1, MAX_LIMIT))]
Status = Annotated[int, Field(ge=100, le=599), BeforeValidator(_whole(100, 599))]
Similarity = Annotated[float, Field(ge=-1, le=1), BeforeValidator(_real(-1, 1))]
Rate = Annotated[float, Field(ge=0, le=1), BeforeValidator(_real(0, 1))]
Attributes = Annotated[dict[str, Any], BeforeValidator(_attributes)]
AttributeFilter = Annotated[
    dict[str, Any],
    BeforeValidator(_attribute_filter),
    WithJsonSchema({"type": "string", "contentMediaType": "application/json"}),
]


class Fields(BaseModel):
    """Fields of one call; unknown ones are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class EnrolFields(Fields):
    """What is said about a crop that is enrolled."""

    modality: ModalityName = Field(description="The kind of camera; never guessed.")
    person_id: Name | None = Field(default=None, description="Whom the crop shows, if known.")
    camera_id: Name | None = Field(default=None, description="The camera that took it.")
    captured_at: Time | None = Field(default=None, description="When it was taken, RFC 3339.")
    entry_id: EntryId | None = Field(
        default=None,
        description="The client's own id: the same id and bytes again are the same entry.",
    )
    attributes: Attributes | None = Field(default=None, description="Anything else, a JSON object.")


class EntryPatch(Fields):
    """The fields of an entry that may change; null clears one."""

    person_id: Name | None = None
    camera_id: Name | None = None
    captured_at: Time | None = None
    attributes: Attributes | None = None


class FilterFields(Fields):
    """Which entries take part; a field in NAME_FIELDS may be repeated, any of its names will do."""

    person_id: Names | None = Field(
        default=None, description="Only entries of this person; repeated: of any of these."
    )
    camera_id: Names | None = Field(
        default=None, description="Only entries of this camera; repeated: of any of these."
    )
    captured_after: Time | None = Field(default=None, description="Taken at this time or later.")
    captured_before: Time | None = Field(default=None, description="Taken before this time.")
    attributes: AttributeFilter | None = Field(
        default=None,
        description=(
            "Only entries whose attributes have each of these keys, at the top, with this value:"
            " a JSON object of text, numbers, true, false and null."
        ),
    )


class ListFields(FilterFields):
    """Which entries to list, and from where."""

    modality: ModalityName | None = Field(
        default=None, description="Only entries of this modality."
    )
    limit: Limit = Field(default=100, description="The most entries in one answer.")
    cursor: Annotated[str, Field(max_length=512)] | None = Field(
        default=None, description="`next_cursor` of the answer before."
    )


class AuditFields(Fields):
    """Which calls of the audit log to list; all that is given holds."""

    caller: Name | None = Field(default=None, description="The name of the key that was used.")
    call: Name | None = Field(default=None, description="In the method and path: `DELETE`.")
    person_id: Name | None = Field(default=None, description="Named, shown or changed.")
    entry_id: Name | None = Field(default=None, description="Named, shown or changed.")
    request_id: Name | None = Field(default=None, description="As in `X-Request-Id`.")
    status: Status | None = Field(default=None, description="The status of the answer.")
    code: Name | None = Field(default=None, description="The code of the problem.")
    after: Time | None = Field(default=None, description="Recorded at this time or later.")
    before: Time | None = Field(default=None, description="Recorded before this time.")
    limit: Limit = Field(default=100, description="The most events in one answer.")
    cursor: Annotated[str, Field(max_length=64)] | None = Field(
        default=None, description="`next_cursor` of the answer before."
    )


class QueryFields(FilterFields):
    """How to search with the crops of one person."""

    modality: ModalityName = Field(description="The modality of the query crops; never guessed.")
    top_k: TopK = Field(default=10, description="The most matches in the answer.")
    target_modality: Literal["visible", "infrared", "any"] = Field(
        default="any", description="The modality of the entries searched."
    )
    exclude_person_id: Names | None = Field(
        default=None, description="No entries of this person; repeated: of none of these."
    )
    exclude_camera_id: Names | None = Field(
        default=None, description="No entries of this camera; repeated: of none of these."
    )
    group_by: Literal["entry", "person"] = Field(
        default="entry", description="`person`: only the best entry of each person."
    )
    rerank: Truth = Field(
        default=False,
        description=(
            "Order the nearest entries anew by the neighbours that they and the query have in"
            " common (k-reciprocal). `similarity` stays the plain one, so it need not fall with"
            " `rank`; `min_similarity` is about it too."
        ),
    )
    explain: Truth = Field(
        default=False,
        description="Say of each match what each pattern adds to its similarity, and show it.",
    )
    min_similarity: Similarity | None = Field(
        default=None, description="Leave out what is less alike."
    )
    max_false_accept_rate: Rate | None = Field(
        default=None,
        description=(
            "Leave out what is less alike than the calibration demands for this rate: of so many"
            " comparisons of different persons no more pass. Needs a model that is calibrated for"
            " the modalities searched."
        ),
    )


class EmbedFields(Fields):
    """What is said about a crop that is embedded."""

    modality: ModalityName = Field(description="The modality of the crop; never guessed.")


class CompareFields(Fields):
    """What is said about two crops that are compared."""

    modality: Annotated[list[ModalityName], Field(min_length=1, max_length=2)] = Field(
        description="The modality of both crops, or of each in their order; never guessed."
    )
    max_false_accept_rate: Rate | None = Field(
        default=None, description="Say whether they are as alike as this rate demands."
    )


class ActivateFields(Fields):
    """How a model is to be made the active one."""

    override: list[Literal["evaluation"]] = Field(
        default=[], max_length=1, description="Checks that it need not pass."
    )
    entries_without_crop: Literal["erase", "leave_out"] | None = Field(
        default=None,
        description=(
            "What becomes of entries that cannot be embedded anew, for want of a sound crop:"
            " erased for good, or listed but no longer found."
        ),
    )
    reclaim_kept: bool = Field(
        default=False,
        strict=True,
        description="Give up the vectors that are kept to go back to, if another model's are.",
    )


class BatchFields(Fields):
    """What is said about the crops of a batch."""

    entries: str = Field(
        description="A JSON list with one object a file: the fields of `POST /gallery`."
    )


NAME_FIELDS = ("person_id", "camera_id", "exclude_person_id", "exclude_camera_id")
FieldsT = TypeVar("FieldsT", bound=Fields)


def parse_fields(
    kind: type[FieldsT], values: object, *, where: str = "", allowed: Iterable[str] = ()
) -> FieldsT:
    """Read fields out of untrusted values.

    `where` stands before each field's name in an error; `allowed` names fields beside those of
    `kind` that the call reads, for the message about an unknown one.

    Raises: InvalidFieldsError with every field that cannot be used.
    """
    if not isinstance(values, Mapping):
        raise InvalidFieldsError(
            [{"field": where or "body", "expected": "a JSON object", "came": shown(values)}]
        )
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        names = [*allowed, *kind.model_fields]
        raise InvalidFieldsError(
            [
                field_error(detail, (*([where] if where else []), *detail["loc"]), names)
                for detail in error.errors()
            ]
        ) from None


def field_error(
    detail: ErrorDetails, location: Sequence[int | str], allowed: Iterable[str]
) -> FieldError:
    """Say what is wrong with one field in our own words; `location` leads to it."""
    field = ".".join(str(part) for part in location)[:MAX_NAME_LENGTH] or "body"
    came = shown(detail["input"])
    if detail["type"] == "missing":
        return {"field": field, "expected": "a value, it is required", "came": "nothing"}
    if detail["type"] == "extra_forbidden":
        return {"field": field, "expected": f"one of the fields {', '.join(allowed)}", "came": came}
    if detail["type"] == "value_error":
        return {"field": field, "expected": str(detail["ctx"]["error"]), "came": came}
    expected = detail["msg"].removeprefix("Input should be ")
    return {"field": field, "expected": expected, "came": came}


def shown(value: object) -> str:
    """Return what came, short enough for a message."""
    text = ascii(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
