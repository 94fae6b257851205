"""What the OpenAPI document says of each call: its name, the problems it can answer, its headers.

The one table of these; who may call is `roles`, which status and title a code has is `problems`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

Codes = frozenset[str]

_EVERY: Final[Codes] = frozenset({"internal_error", "too_many_connections"})
_KEYED: Final[Codes] = _EVERY | {"key_required", "key_unknown", "rate_limited", "cross_origin"}
_STORED: Final[Codes] = frozenset({"store_unavailable", "store_unsafe", "gallery_unavailable"})
_AUDITED: Final[Codes] = frozenset({"audit_unavailable", "storage_full"})
_READ: Final[Codes] = _KEYED | _STORED | _AUDITED | {"role_required"}
_CHANGED: Final[Codes] = _READ | {"shutting_down", "storage_full"}
_BODY: Final[Codes] = frozenset(
    {
        *("slow_request", "queue_full", "too_many_bytes", "unsupported_content"),
        *("invalid_fields", "malformed_body"),
    }
)
_ENCODED: Final[Codes] = frozenset({"deadline_exceeded", "encoder_failed"})
_IMAGES: Final[Codes] = _ENCODED | {
    *("unsupported_image", "undecodable_image", "too_many_pixels"),
}
_RATED: Final[Codes] = frozenset({"not_calibrated", "rate_not_supported"})
_REFRESH: Final[Codes] = _CHANGED | {"refresh_running"}
_ASKED: Final[Codes] = _KEYED | _AUDITED | _BODY | _IMAGES | {"role_required", "shutting_down"}


@dataclass(frozen=True, slots=True)
class CallDoc:
    """One call: `name` is its operationId, `headers` are those of its success beside the usual."""

    name: str
    summary: str
    codes: Codes
    headers: tuple[str, ...] = ()
    keyed: bool = False
    succeeds: bool = True


CALLS: Final[Mapping[tuple[str, str], CallDoc]] = {
    ("POST", "/gallery"): CallDoc(
        "enroll",
        "Enrol one crop",
        _CHANGED | _BODY | _IMAGES | {"entry_conflict", "idempotency_key_reused", "model_changing"},
        ("Location", "Idempotent-Replayed", "Server-Timing"),
        keyed=True,
    ),
    ("POST", "/gallery/batch"): CallDoc(
        "enroll_batch",
        "Enrol several crops",
        _CHANGED | _BODY | {"deadline_exceeded", "model_changing"},
        ("Idempotent-Replayed", "Server-Timing"),
        keyed=True,
    ),
    ("GET", "/gallery"): CallDoc(
        "list_entries",
        "List entries",
        (_READ - {"role_required"}) | {"invalid_fields", "invalid_cursor"},
        ("Server-Timing",),
    ),
    ("GET", "/gallery/{entry_id}"): CallDoc(
        "get_entry", "Read one entry", (_READ - {"role_required"}) | {"entry_not_found"}
    ),
    ("GET", "/gallery/{entry_id}/crop"): CallDoc(
        "get_crop",
        "Read the crop of an entry",
        _READ | {"entry_not_found", "crop_not_kept", "gallery_damaged", "queue_full"},
    ),
    ("PATCH", "/gallery/{entry_id}"): CallDoc(
        "update_entry", "Change an entry", _CHANGED | _BODY | {"entry_not_found"}
    ),
    ("DELETE", "/gallery/{entry_id}"): CallDoc(
        "delete_entry", "Erase one entry", _CHANGED | {"entry_not_found"}
    ),
    ("DELETE", "/persons/{person_id}"): CallDoc(
        "erase_person", "Erase every entry of a person", _CHANGED | {"person_not_found"}
    ),
    ("POST", "/query"): CallDoc(
        "query",
        "Find a person",
        _ASKED | _STORED | _RATED | {"model_changing"},
        ("Server-Timing",),
    ),
    ("POST", "/embed"): CallDoc("embed", "Embed a crop", _ASKED, ("Server-Timing",)),
    ("GET", "/queries/{query_id}/patterns.png"): CallDoc(
        "draw_patterns",
        "See what made a match",
        _READ
        | _ENCODED
        | {"query_not_found", "entry_not_found", "crop_not_kept", "gallery_damaged"}
        | {"invalid_fields", "queue_full", "shutting_down", "model_changing"},
    ),
    ("POST", "/compare"): CallDoc(
        "compare", "Compare two crops", _ASKED | _RATED, ("Server-Timing",)
    ),
    ("GET", "/models"): CallDoc("list_models", "List the models", _KEYED),
    ("GET", "/models/{model_id}"): CallDoc(
        "get_model", "Read one model", _KEYED | {"model_not_found"}
    ),
    ("POST", "/models"): CallDoc(
        "publish_model",
        "Publish a model",
        _KEYED
        | _AUDITED
        | _BODY
        | {"role_required", "shutting_down", "gallery_unavailable"}
        | {"invalid_artifact", "not_available_yet"},
        ("Location",),
    ),
    ("POST", "/models/{model_id}/activate"): CallDoc(
        "activate_model",
        "Make a model the active one",
        _REFRESH
        | _BODY
        | {"model_not_found", "invalid_artifact", "encoder_failed"}
        | {"generation_kept", "entries_without_crop", "refresh_unsupported"},
        ("Location",),
    ),
    ("POST", "/models/{model_id}/calibrate"): CallDoc(
        "calibrate_model",
        "Calibrate the active model anew",
        _REFRESH | {"model_not_found", "refresh_unsupported"},
        ("Location",),
    ),
    ("POST", "/models/rollback"): CallDoc(
        "rollback_model",
        "Go back to the model before",
        _REFRESH
        | {"no_earlier_model", "model_not_found", "invalid_artifact", "encoder_failed"}
        | {"crop_unusable"},
    ),
    ("POST", "/models/reclaim"): CallDoc(
        "reclaim_model", "Give up what is kept to go back to", _REFRESH | {"no_earlier_model"}
    ),
    ("GET", "/jobs"): CallDoc("list_jobs", "List the last jobs", _KEYED),
    ("GET", "/jobs/{job_id}"): CallDoc(
        "get_job", "Read how far a job is", _KEYED | {"job_not_found", "queue_full"}
    ),
    ("GET", "/jobs/{job_id}/events"): CallDoc(
        "watch_job", "Follow a job", _KEYED | {"job_not_found", "queue_full"}
    ),
    ("DELETE", "/jobs/{job_id}"): CallDoc(
        "cancel_job",
        "End a job before its time",
        _KEYED | _AUDITED | {"role_required", "shutting_down", "job_not_found"},
    ),
    ("GET", "/healthz"): CallDoc("get_health", "Is the process alive", _EVERY | {"encoder_failed"}),
    ("GET", "/readyz"): CallDoc(
        "get_readiness", "Does every part work", _KEYED | _STORED | {"not_ready"}
    ),
    ("GET", "/metrics"): CallDoc("get_metrics", "Metrics for Prometheus", _KEYED | _STORED),
    ("GET", "/docs"): CallDoc("get_docs", "This documentation as a page", _KEYED),
    ("GET", "/whoami"): CallDoc("get_caller", "Whose key this is, and what it may do", _KEYED),
    ("GET", "/audit"): CallDoc(
        "list_audit_events",
        "Read the audit log",
        _KEYED
        | _AUDITED
        | {"role_required", "audit_off", "invalid_fields", "invalid_cursor", "shutting_down"},
    ),
    ("GET", "/"): CallDoc("get_page", "The operator's page", _EVERY, ("ETag",)),
}
