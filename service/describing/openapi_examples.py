"""The examples of the OpenAPI document: one request and one answer a call, one problem a code."""

from collections.abc import Mapping
from typing import Any, Final

from service.problems import INTERNAL, KINDS, OF_CONNECTIONS, Kind, document

REQUEST_ID: Final = "5b1d3c0c7f5e4f0e9a3f0d7a6c2b8e11"
MODEL_ID: Final = "3f9a6f0c6a1b2d4e"
ENTRY_ID: Final = "cam1-000123"
PATH_VALUES: Final[Mapping[str, str]] = {
    "entry_id": ENTRY_ID,
    "person_id": "0007",
    "model_id": MODEL_ID,
    "job_id": "17",
}
_FILE: Final = "(the bytes of crop.jpg)"

ENTRY: Final[Mapping[str, Any]] = {
    "entry_id": ENTRY_ID,
    "person_id": "0007",
    "camera_id": "cam1",
    "modality": "visible",
    "captured_at": "2026-11-23T21:15:00Z",
    "attributes": {"site": "north"},
    "model_id": MODEL_ID,
    "crop_sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "enrolled_at": "2026-11-23T21:15:02.318402Z",
    "crop_url": f"/gallery/{ENTRY_ID}/crop",
}
MODEL: Final[Mapping[str, Any]] = {
    "model_id": MODEL_ID,
    "active": True,
    "state": "active",
    "config": {
        "backbone": "resnet50",
        "image_size": [384, 128],
        "num_patterns": 6,
        "projected_dim": None,
    },
    "embedding_dim": 14336,
    "provider": "OpenVINOExecutionProvider",
    "precision": "bf16",
    "metrics": {"sysu-mm01 all": {"mAP": 68.24, "rank1": 70.58}},
    "calibration": None,
    "created_at": "2026-11-20T09:12:31Z",
    "source": {"recipe": "mpanet", "commit": "52bb27bda616c06c168e46a54cfcdb99677654e2"},
    "published_at": "2026-11-20T09:30:02.118000Z",
    "published_by": "trainer",
}
AVAILABLE: Final = {
    **MODEL,
    "active": False,
    "state": "available",
    "provider": None,
    "precision": None,
}
JOB: Final[Mapping[str, Any]] = {
    "job_id": REQUEST_ID,
    "kind": "refresh",
    "status": "running",
    "phase": "embedding",
    "model_id": MODEL_ID,
    "from_model_id": "d97bfa9b2763656e1a91d1c5a40c3d773d5fddff6f7d090aa93b5e9fe6412495",
    "total": 20000,
    "done": 6144,
    "left_out": 0,
    "erased": 0,
    "crops_per_s": 31.6,
    "seconds_left": 438.4,
    "waiting_for": None,
    "started_at": "2026-11-20T09:31:00.204000Z",
    "finished_at": None,
    "asked_by": "trainer",
    "override": [],
    "entries_without_crop": None,
    "problem": None,
    "evaluation": None,
}

REQUESTS: Final[Mapping[str, Mapping[str, Any]]] = {
    "enroll": {
        "file": _FILE,
        "modality": "visible",
        "person_id": "0007",
        "camera_id": "cam1",
        "captured_at": "2026-11-23T22:15:00+01:00",
        "entry_id": ENTRY_ID,
        "attributes": {"site": "north"},
    },
    "activate_model": {"override": [], "entries_without_crop": None, "reclaim_kept": False},
    "enroll_batch": {
        "files": ["(the bytes of a.jpg)", "(the bytes of b.jpg)"],
        "entries": '[{"modality": "visible", "person_id": "0007"}, {"modality": "infrared"}]',
    },
    "update_entry": {"person_id": "0008", "camera_id": None},
    "query": {
        "file": ["(the bytes of night1.png)", "(the bytes of night2.png)"],
        "modality": "infrared",
        "target_modality": "visible",
        "exclude_camera_id": ["cam3", "cam6"],
        "attributes": '{"site": "north"}',
        "top_k": 5,
        "group_by": "person",
        "max_false_accept_rate": 0.001,
    },
    "publish_model": {
        "manifest": "(the bytes of manifest.json)",
        "model": "(the bytes of model.onnx)",
    },
    "embed": {"file": _FILE, "modality": "visible"},
    "compare": {
        "file": ["(the bytes of a.jpg)", "(the bytes of b.jpg)"],
        "modality": ["visible", "infrared"],
        "max_false_accept_rate": 0.001,
    },
}


def problem_examples() -> dict[str, dict[str, Any]]:
    """Return an example of the problem document of each code."""
    kinds = {kind.code: kind for kind in (*OF_CONNECTIONS, *KINDS.values(), INTERNAL)}
    return {code: _problem(kind) for code, kind in sorted(kinds.items()) if code != "client_left"}


def _problem(kind: Kind) -> dict[str, Any]:
    detail = _DETAILS[kind.code]
    body = document(kind, detail, REQUEST_ID)
    if kind.code == "invalid_fields":
        body["errors"] = [
            {
                "field": "modality",
                "expected": "'visible' or 'infrared'",
                "came": "'ultraviolet'",
            }
        ]
    if kind.code == "evaluation_gate":
        candidate, active = {"mAP": 61.2, "rank1": 63.9}, {"mAP": 68.24, "rank1": 70.58}
        body["evaluation"] = {"candidate": candidate, "active": active, "margin": 1.0}
    if kind.code == "not_ready":
        body["reasons"] = [detail]
    return body


ANSWERS: Final[Mapping[str, Any]] = {
    "enroll": ENTRY,
    "enroll_batch": {
        "results": [
            {"status": 201, "entry": ENTRY, "replayed": True},
            {
                "status": 415,
                "problem": document(
                    Kind(415, "unsupported_image", "Not an image that is read here"),
                    "expected JPEG, PNG, WebP, BMP or TIFF, came b'GIF89a'",
                    REQUEST_ID,
                ),
            },
        ]
    },
    "list_entries": {"entries": [ENTRY], "next_cursor": "eyJhZnRlciI6IDEyM30"},
    "get_entry": ENTRY,
    "update_entry": {**ENTRY, "person_id": "0008", "camera_id": None},
    "erase_person": {
        "person_id": "0007",
        "entry_ids": [ENTRY_ID],
        "entries": 1,
        "vectors": 1,
        "crops": 1,
        "erased_at": "2026-11-24T08:00:00.102030Z",
    },
    "query": {
        "query_id": "0d6f7c1e8f3b4f7f8f2c3d5e6a7b8c9d",
        "model_id": MODEL_ID,
        "gallery_size": 240,
        "timings_ms": {"decode": 0.9, "queue": 0.1, "embed": 14.2, "search": 1.3, "rerank": 0.0},
        "unknown": False,
        "prior": 0.016393,
        "thresholds": {"infrared-visible": 0.6204},
        "compared": 120,
        "expected_false_accepts": 0.12,
        "matches": [
            {
                "rank": 1,
                "entry_id": ENTRY_ID,
                "person_id": "0007",
                "camera_id": "cam1",
                "modality": "visible",
                "captured_at": "2026-11-23T21:15:00Z",
                "similarity": 0.8713,
                "probability": 0.9987,
                "crop_url": f"/gallery/{ENTRY_ID}/crop",
            }
        ],
    },
    "embed": {"model_id": MODEL_ID, "embedding": [0.6, 0.0, 0.8], "dimension": 3},
    "compare": {
        "model_id": MODEL_ID,
        "similarity": 0.75,
        "probability": 0.9911,
        "threshold": 0.6204,
        "accepted": True,
        "patterns": [
            {"pattern": "pattern_1", "similarity": 0.25},
            {"pattern": "global", "similarity": 0.5},
        ],
    },
    "list_models": {"active": MODEL_ID, "kept": None, "refreshing": None, "models": [MODEL]},
    "get_model": MODEL,
    "publish_model": AVAILABLE,
    "activate_model": JOB,
    "activate_model_200": MODEL,
    "calibrate_model": {**JOB, "kind": "calibrate", "phase": "calibrating"},
    "rollback_model": MODEL,
    "get_caller": {
        "name": "night-desk",
        "roles": ["query"],
        "keys": True,
        "calls": ["POST /query", "GET /gallery", "GET /healthz"],
    },
    "list_audit_events": {
        "events": [
            {
                "sequence": 422,
                "time": "2026-11-25T02:14:07.311Z",
                "kind": "call",
                "phase": "done",
                "call": "POST /query",
                "status": 200,
                "caller": "night-desk",
                "key_id": "3fa9c1d0e4b7",
                "client": "192.0.2.7",
                "request_id": REQUEST_ID,
                "fields": {"modality": "infrared", "top_k": 10},
                "shown": [{"entry_id": ENTRY_ID, "person_id": "0007", "similarity": 0.559102}],
            }
        ],
        "damaged": [],
        "searched_to": None,
        "next_cursor": None,
    },
    "reclaim_model": {"model_id": MODEL_ID, "bytes_freed": 578813952},
    "list_jobs": {"jobs": [JOB]},
    "get_job": JOB,
    "cancel_job": {**JOB, "status": "cancelled", "phase": None, "seconds_left": None},
    "get_health": {"status": "ok"},
    "get_readiness": {
        "status": "ready",
        "model": {
            "model_id": MODEL_ID,
            "embedding_dim": 14336,
            "provider": "OpenVINOExecutionProvider",
            "precision": "bf16",
        },
        "store": {"kind": "sqlite", "durability": "power-loss"},
        "index": {
            "kind": "exact-fp16",
            "entries": 240,
            "persons": 60,
            "recall_at_10": 1.0,
            "recall_target": 0.99,
        },
        "durability": "power-loss",
        "checks": [{"name": "store", "ok": True, "detail": "sqlite answers"}],
    },
    "get_metrics": "mpanet_gallery_entries 240\n",
}

_DETAILS: Final[Mapping[str, str]] = {
    "malformed_request": "Invalid HTTP request received.",
    "head_too_long": "the head has more than 65,536 bytes",
    "slow_request": "the body had not arrived after 30 s",
    "too_many_connections": "at most 1024 connections at once",
    "key_required": "expected `Authorization: Bearer KEY` or `X-API-Key: KEY`",
    "key_unknown": "the key is not one of the service's",
    "role_required": "expected a key with the role admin, came one with query",
    "cross_origin": "expected a request of this site's pages, came a cross-site one",
    "rate_limited": "the key may make 10 requests a second",
    "entry_not_found": f"no entry '{ENTRY_ID}' in the gallery",
    "person_not_found": "no entry of person '0007' in the gallery",
    "query_not_found": (
        f"no query '{REQUEST_ID}' of this key that was asked with `explain` in the last 600 s"
    ),
    "model_not_found": f"no model 'other'; the service has '{MODEL_ID}'",
    "job_not_found": "no job '17'",
    "audit_off": "the service keeps no audit log: it was started without one",
    "entry_conflict": f"entry '{ENTRY_ID}' is there with another crop",
    "idempotency_key_reused": (
        "Idempotency-Key 'night-7', position 0: expected the crop and modality that came first"
        " under this key, came others"
    ),
    "evaluation_gate": (
        "the model is worse than the active one by more than 1 percentage points: mAP 61.20 %"
        " against 68.24 %; an override of 'evaluation' lets it pass"
    ),
    "evaluation_failed": "the evaluation set cannot be used: night/7.png cannot be embedded",
    "refresh_running": f"the refresh of model {MODEL_ID} is under way: {REQUEST_ID}",
    "generation_kept": (
        f"the vectors of model {MODEL_ID} are kept to go back to: reclaim them first,"
        " or say reclaim_kept"
    ),
    "entries_without_crop": (
        "2 entries have no sound crop to embed anew: say entries_without_crop `erase` or"
        " `leave_out`"
    ),
    "crop_unusable": f"the crop of entry '{ENTRY_ID}' cannot be embedded: too many pixels",
    "refresh_unsupported": "the gallery of several services cannot be refreshed",
    "no_earlier_model": "the service has had no other model than the active one",
    "too_many_bytes": "the file has 10,485,761 bytes; at most 10,485,760 are read",
    "unsupported_image": "expected JPEG, PNG, WebP, BMP or TIFF, came b'GIF89a'",
    "unsupported_content": "expected a body of multipart/form-data, came 'text/plain'",
    "invalid_fields": "modality: expected 'visible' or 'infrared', came 'ultraviolet'",
    "invalid_cursor": "the cursor is not one that this gallery handed out",
    "malformed_body": "the multipart body ends before its closing boundary",
    "not_calibrated": "the model has no calibration of infrared-infrared pairs",
    "rate_not_supported": (
        "infrared-visible: the calibration supports no rate below 0.001, came 0.0001"
    ),
    "not_available_yet": "this service has no models directory",
    "invalid_artifact": "expected embeddings of length 1, came 3.162",
    "undecodable_image": "the JPEG ends before its image does",
    "too_many_pixels": "the image has 8000 x 8000 pixels; at most 25,000,000 are decoded",
    "queue_full": "512 crops are under way, as many as may be",
    "deadline_exceeded": "not embedded within 10 s; nothing was done",
    "shutting_down": "the service is stopping",
    "audit_unavailable": "the audit log cannot be written",
    "encoder_failed": "the encoder does not work",
    "crop_not_kept": f"the crop of entry '{ENTRY_ID}' was not kept",
    "model_changing": f"the gallery is of model {MODEL_ID} now, the vector of another",
    "not_ready": "store: sqlite does not answer; searches go on",
    "store_unavailable": "the metadata store does not answer",
    "store_unsafe": "Redis would lose acknowledged entries as it is configured",
    "gallery_damaged": f"the crop of entry '{ENTRY_ID}' is not what was enrolled",
    "gallery_unavailable": "the gallery is closed",
    "storage_full": "no room on the disk; nothing was changed",
    "internal_error": f"nothing is wrong with the request; the log has more under {REQUEST_ID}",
}
