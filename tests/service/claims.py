"""What must hold for every answer."""

from typing import Any

import httpx

PROBLEM_FIELDS = {"type", "title", "status", "detail", "code", "request_id"}


def problem_of(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """Return the problem document of a refusal, having checked all of its form."""
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == "application/problem+json"
    problem = response.json()
    assert isinstance(problem, dict)
    extra = {
        "invalid_fields": {"errors"},
        "not_ready": {"reasons"},
        "evaluation_gate": {"evaluation"},
        "entries_without_crop": {"entry_ids"},
    }.get(code, set())
    assert set(problem) - PROBLEM_FIELDS <= extra
    assert problem.keys() >= PROBLEM_FIELDS
    assert (problem["status"], problem["code"]) == (status, code)
    assert problem["type"] == f"/docs#{code}"
    assert problem["title"]
    assert problem["detail"]
    assert problem["request_id"] == response.headers["X-Request-Id"]
    return problem


def fields_of(problem: dict[str, Any]) -> set[str]:
    """Return the names of the fields that a problem complains about."""
    for error in problem["errors"]:
        assert set(error) == {"field", "expected", "came"}
        assert all(isinstance(value, str) and value for value in error.values())
    return {error["field"] for error in problem["errors"]}
