"""What the service answers a client, as typed dictionaries: the bodies of the HTTP contract.

The same as `schemas`, without what a client has no use for: importing them costs nothing. Times
are texts as in RFC 3339.
"""

from typing import Any, Literal, NotRequired, TypedDict

Modality = Literal["visible", "infrared"]


class Entry(TypedDict):
    """One enrolled crop."""

    entry_id: str
    person_id: str | None
    camera_id: str | None
    modality: Modality
    captured_at: str | None
    attributes: dict[str, Any]
    model_id: str
    crop_sha256: str
    enrolled_at: str
    crop_url: str | None


class EntryChanges(TypedDict, total=False):
    """What may change of an entry; None clears a field, one left out stays."""

    person_id: str | None
    camera_id: str | None
    captured_at: object
    attributes: dict[str, Any] | None


class FieldError(TypedDict):
    """One field that cannot be used."""

    field: str
    expected: str
    came: str


class Problem(TypedDict):
    """An error, as RFC 9457 has it; programs read `code`."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str
    errors: NotRequired[list[FieldError]]
    reasons: NotRequired[list[str]]
    evaluation: NotRequired[dict[str, Any]]
    entry_ids: NotRequired[list[str]]


class BatchResult(TypedDict):
    """What became of one item: its `entry` (201) or its `problem`."""

    status: int
    entry: NotRequired[Entry]
    replayed: NotRequired[bool]
    problem: NotRequired[Problem]


class Page(TypedDict):
    """Entries in the order of enrolment; `next_cursor` leads on, None at the end."""

    entries: list[Entry]
    next_cursor: str | None


class Receipt(TypedDict):
    """What was erased for one person; `erased_at` is None where the receipt was lost."""

    person_id: str
    entry_ids: list[str]
    entries: int
    vectors: int
    crops: int
    erased_at: str | None


class Timings(TypedDict):
    """Milliseconds of each stage."""

    decode: float
    queue: float
    embed: float
    search: float
    rerank: float


class Match(TypedDict):
    """An entry that matches; `similarity` is the cosine, -1 to 1."""

    rank: int
    entry_id: str
    person_id: str | None
    camera_id: str | None
    modality: Modality
    captured_at: str | None
    similarity: float
    probability: float | None
    crop_url: str | None
    patterns: NotRequired[list["PatternPart"] | None]
    patterns_url: NotRequired[str | None]


class QueryAnswer(TypedDict):
    """The answer to a query: matches, best first; `unknown` where there are none.

    The last three but `matches` are there with `max_false_accept_rate`.
    """

    query_id: str
    model_id: str
    gallery_size: int
    timings_ms: Timings
    unknown: bool
    prior: float
    thresholds: dict[str, float] | None
    compared: int | None
    expected_false_accepts: float | None
    matches: list[Match]


class Embedding(TypedDict):
    """The embedding of one crop: L2-normalised, `dimension` numbers."""

    model_id: str
    embedding: list[float]
    dimension: int


class PatternPart(TypedDict):
    """What one block of the embeddings adds to their similarity."""

    pattern: str
    similarity: float


class Comparison(TypedDict):
    """How alike two crops are; the parts sum to the similarity."""

    model_id: str
    similarity: float
    probability: float | None
    threshold: float | None
    accepted: bool | None
    patterns: list[PatternPart] | None


class Model(TypedDict):
    """A model that the service has."""

    model_id: str
    active: bool
    state: Literal["active", "kept", "refreshing", "available"]
    config: dict[str, Any]
    embedding_dim: int
    provider: str | None
    precision: str | None
    metrics: dict[str, dict[str, float]]
    calibration: dict[str, Any] | None
    created_at: str | None
    source: dict[str, str | None] | None
    published_at: str | None
    published_by: str | None


class Models(TypedDict):
    """The models that the service has; `active` is the id of the one that answers."""

    active: str
    kept: str | None
    refreshing: str | None
    models: list[Model]


class Job(TypedDict):
    """Long work of the service; `problem` says why it failed."""

    job_id: str
    kind: str
    status: Literal["running", "done", "failed", "cancelled"]
    phase: str | None
    model_id: str
    from_model_id: str
    total: int
    done: int
    left_out: int
    erased: int
    crops_per_s: float | None
    seconds_left: float | None
    waiting_for: str | None
    started_at: str
    finished_at: str | None
    asked_by: str
    override: list[str]
    entries_without_crop: Literal["erase", "leave_out"] | None
    problem: Problem | None
    evaluation: dict[str, Any] | None


class Jobs(TypedDict):
    """Jobs, newest first."""

    jobs: list[Job]


class Reclaimed(TypedDict):
    """What was given up: the vectors of a model."""

    model_id: str
    bytes_freed: int


class Who(TypedDict):
    """Whose key it is, and the calls that it opens; `keys` is false where there are none."""

    name: str
    roles: list[str]
    keys: bool
    calls: list[str]


class AuditEvents(TypedDict):
    """Calls that the audit log has, newest first; `damaged` are lines that cannot be read.

    `searched_to`: all that was recorded after it has been looked at; None: everything.
    """

    events: list[dict[str, Any]]
    damaged: list[str]
    searched_to: str | None
    next_cursor: str | None


class Health(TypedDict):
    """The process answers."""

    status: str


class ReadyModel(TypedDict):
    """The model that answers."""

    model_id: str
    embedding_dim: int
    provider: str | None
    precision: str | None


class ReadyStore(TypedDict):
    """Where entries are kept, and what an acknowledged one survives."""

    kind: str
    durability: str


class ReadyIndex(TypedDict):
    """The index that is searched."""

    kind: str
    entries: int
    persons: int
    recall_at_10: float | None
    recall_target: float


class ReadyCheck(TypedDict):
    """What one part says of itself."""

    name: str
    ok: bool
    detail: str


class Readiness(TypedDict):
    """Every part works; `durability` says what a reply of 201 survives."""

    status: str
    model: ReadyModel
    store: ReadyStore
    index: ReadyIndex
    durability: str
    checks: list[ReadyCheck]
