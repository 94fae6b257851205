"""What the service answers: the bodies of the HTTP contract, built from the gallery's records."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote

from fastapi import Response
from pydantic import BaseModel, Field

from gallery_index.records import ErasureReceipt, GalleryEntry, Match, Page
from model.calibration import PairKind
from service.access.caller import Role
from service.bodies.fields import ModalityName


class EntryBody(BaseModel):
    """One enrolled crop."""

    entry_id: str
    person_id: str | None
    camera_id: str | None
    modality: ModalityName
    captured_at: datetime | None = Field(description="RFC 3339, in UTC.")
    attributes: dict[str, Any]
    model_id: str = Field(description="The model that embedded the crop.")
    crop_sha256: str = Field(pattern="^[0-9a-f]{64}$", description="SHA-256 of the crop's bytes.")
    enrolled_at: datetime
    crop_url: str | None = Field(
        description="Where the crop's bytes are, below this service's address; null: not kept."
    )


class PageBody(BaseModel):
    """Entries in the order of enrolment; `next_cursor` leads on, null at the end."""

    entries: list[EntryBody]
    next_cursor: str | None


class FieldErrorBody(BaseModel):
    """One field that cannot be used."""

    field: str
    expected: str
    came: str


class Problem(BaseModel):
    """An error, as RFC 9457 has it; programs read `code`."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str
    errors: list[FieldErrorBody] | None = Field(default=None, description="With `invalid_fields`.")
    reasons: list[str] | None = Field(default=None, description="With `not_ready`.")
    evaluation: dict[str, Any] | None = Field(
        default=None, description="With `evaluation_gate`: figures of both models, in percent."
    )
    entry_ids: list[str] | None = Field(
        default=None, description="With `entries_without_crop`: the first of them."
    )


class BatchItem(BaseModel):
    """What became of one item: its entry (201) or its problem."""

    status: int
    entry: EntryBody | None = None
    replayed: bool | None = Field(
        default=None, description="True where the entry was there already."
    )
    problem: Problem | None = None


class BatchBody(BaseModel):
    """What became of each item, in the order sent."""

    results: list[BatchItem]


class ReceiptBody(BaseModel):
    """What was erased for one person."""

    person_id: str
    entry_ids: list[str]
    entries: int
    vectors: int
    crops: int
    erased_at: datetime


class Timings(BaseModel):
    """Milliseconds of each stage; of several crops the longest. `rerank` is 0 where not asked."""

    decode: float
    queue: float
    embed: float
    search: float
    rerank: float


class MatchBody(BaseModel):
    """An entry that matches, best first."""

    rank: int = Field(ge=1, description="From 1; with `rerank` the order of re-ranking.")
    entry_id: str
    person_id: str | None
    camera_id: str | None
    modality: ModalityName
    captured_at: datetime | None
    similarity: float = Field(
        description="Cosine, -1 to 1; higher is closer. Plain with `rerank` too."
    )
    probability: float | None = Field(
        description=(
            "That the entry shows the person, by the calibration of the model and the `prior`; null"
            " where it is not calibrated for such a pair of modalities."
        )
    )
    crop_url: str | None = Field(description="Null where the crop was not kept.")
    patterns: list["PatternPart"] | None = Field(
        default=None,
        description=(
            "With `explain`: parts that sum to the similarity. Null for a projected model, and for"
            " an entry whose vector is damaged."
        ),
    )
    patterns_url: str | None = Field(
        default=None,
        description="With `explain`: a picture of it, for a short time. Null without a crop.",
    )


class PatternPart(BaseModel):
    """What one block of the embeddings adds to their similarity."""

    pattern: str = Field(description="`pattern_1` to `pattern_P`, then `global`.")
    similarity: float


class QueryBody(BaseModel):
    """The answer to a query."""

    query_id: str
    model_id: str
    gallery_size: int = Field(description="Entries in the gallery, filtered ones included.")
    timings_ms: Timings
    unknown: bool = Field(description="Nobody in the gallery is alike enough: no matches.")
    prior: float = Field(
        description=(
            "How probable that is of an entry before it is looked at: the person is any of the"
            " gallery's, or somebody else, each as likely."
        )
    )
    thresholds: dict[PairKind, float] | None = Field(
        description=(
            "The least similarity of a match at `max_false_accept_rate`, by the modalities of query"
            " and entry; null where it was not asked for."
        )
    )
    compared: int | None = Field(
        description="Entries that took part; null without `max_false_accept_rate`."
    )
    expected_false_accepts: float | None = Field(
        description=(
            "How many entries of other persons are at most to be expected among the matches, were"
            " there no `top_k`: `compared` times `max_false_accept_rate`; null without it."
        )
    )
    matches: list[MatchBody]


class EmbedBody(BaseModel):
    """The embedding of one crop: L2-normalised, one block a pattern and the global one last.

    That of a projected model is one block.
    """

    model_id: str
    embedding: list[float]
    dimension: int


class CompareBody(BaseModel):
    """How alike two crops are; the parts sum to the similarity."""

    model_id: str
    similarity: float
    probability: float | None = Field(
        description="As that of a match; it is as likely as not before the crops are looked at."
    )
    threshold: float | None = Field(
        description="The least similarity of such a pair at `max_false_accept_rate`, if asked for."
    )
    accepted: bool | None = Field(description="Whether the similarity reaches the threshold.")
    patterns: list[PatternPart] | None = Field(
        description="Null for a projected model: its embedding has no block of a pattern."
    )


class HealthBody(BaseModel):
    """The process answers."""

    status: str


class WhoBody(BaseModel):
    """Whose key it is. `calls` are the method and the template of the path of all it opens."""

    name: str = Field(description="As the audit log names them.")
    roles: list[Role]
    keys: bool = Field(description="False where the service has no keys: everybody may do all.")
    calls: list[str]


class AuditBody(BaseModel):
    """Calls that the audit log has, newest first."""

    events: list[dict[str, Any]] = Field(
        description="As in the log's files, without the hash of the line before."
    )
    damaged: list[str] = Field(description="Lines that cannot be read, and where they are.")
    searched_to: datetime | None = Field(
        description="All that was recorded after this time has been looked at; null: everything."
    )
    next_cursor: str | None


class ReadyModel(BaseModel):
    """The model that answers."""

    model_id: str
    embedding_dim: int
    provider: str | None
    precision: str | None


class ReadyStore(BaseModel):
    """Where entries are kept, and what an acknowledged one survives."""

    kind: str
    durability: str


class ReadyIndex(BaseModel):
    """The index that is searched."""

    kind: str
    entries: int
    persons: int
    recall_at_10: float | None = Field(
        description=(
            "Share of the ten nearest entries that searches find, as last measured; null before."
        )
    )
    recall_target: float = Field(description="The recall below which the index is built anew.")


class ReadyCheck(BaseModel):
    """What one part says of itself."""

    name: str
    ok: bool
    detail: str


class ReadyBody(BaseModel):
    """Every part works; `durability` says what a reply of 201 survives."""

    status: str
    model: ReadyModel
    store: ReadyStore
    index: ReadyIndex
    durability: str
    checks: list[ReadyCheck] = Field(description="Every part; one that is not ok makes it 503.")


def json_answer(
    body: BaseModel,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    *,
    exclude_unset: bool = False,
) -> Response:
    """Return a body as an answer: written once, and not checked again by the framework."""
    content = body.__pydantic_serializer__.to_json(body, exclude_unset=exclude_unset)
    return Response(content, status, headers, media_type="application/json")


def crop_url(entry: GalleryEntry) -> str | None:
    """Return where the crop of an entry is, below the service's address; None if not kept."""
    return f"/gallery/{quote(entry.entry_id, safe='')}/crop" if entry.has_crop else None


def entry_body(entry: GalleryEntry) -> EntryBody:
    """Return an entry as clients see it."""
    return EntryBody.model_validate(
        {
            "entry_id": entry.entry_id,
            "person_id": entry.person_id,
            "camera_id": entry.camera_id,
            "modality": entry.modality,
            "captured_at": entry.captured_at,
            "attributes": entry.attributes,
            "model_id": entry.model_id,
            "crop_sha256": entry.crop_sha256,
            "enrolled_at": entry.enrolled_at,
            "crop_url": crop_url(entry),
        }
    )


def page_body(page: Page) -> PageBody:
    """Return a page of entries as clients see it."""
    return PageBody(
        entries=[entry_body(entry) for entry in page.entries], next_cursor=page.next_cursor
    )


def receipt_body(receipt: ErasureReceipt) -> ReceiptBody:
    """Return the receipt of an erasure as clients see it."""
    return ReceiptBody.model_validate(receipt, from_attributes=True)


def match_body(rank: int, match: Match, probability: float | None) -> MatchBody:
    """Return a match as clients see it; `rank` counts from 1."""
    entry = match.entry
    return MatchBody.model_validate(
        {
            "rank": rank,
            "entry_id": entry.entry_id,
            "person_id": entry.person_id,
            "camera_id": entry.camera_id,
            "modality": entry.modality,
            "captured_at": entry.captured_at,
            "similarity": match.similarity,
            "probability": probability,
            "crop_url": crop_url(entry),
        }
    )


def explanation(
    query_id: str, entry: GalleryEntry, parts: list[PatternPart] | None
) -> dict[str, Any]:
    """Return what a match says of its similarity, where that was asked for."""
    url = f"/queries/{query_id}/patterns.png?entry_id={quote(entry.entry_id, safe='')}"
    return {"patterns": parts, "patterns_url": url if entry.has_crop else None}
