"""The OpenAPI document: valid, complete, its examples true, and as its snapshot has it."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from service.access.roles import ROLES_OF_CALL
from service.describing.openapi_calls import CALLS
from service.problems import INTERNAL, KINDS, OF_CONNECTIONS
from tests.service.openapi_document import SNAPSHOT, served_document, written

UNSEEN = {"client_left"}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return served_document()


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def contents(operation: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
        yield "request", media_type, content
    for status, answer in operation["responses"].items():
        for media_type, content in answer.get("content", {}).items():
            yield status, media_type, content


def validator(document: dict[str, Any], schema: dict[str, Any]) -> Draft202012Validator:
    resolvable = {**schema, "components": document["components"]}
    return Draft202012Validator(resolvable, format_checker=Draft202012Validator.FORMAT_CHECKER)


def examples(document: dict[str, Any], content: dict[str, Any]) -> list[Any]:
    named = [
        document["components"]["examples"][item["$ref"].rpartition("/")[2]]["value"]
        for item in content.get("examples", {}).values()
    ]
    return [*named, *([content["example"]] if "example" in content else [])]


def test_it_is_valid_openapi(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1.")
    assert [str(error) for error in OpenAPIV31SpecValidator(document).iter_errors()] == []


def test_it_is_the_one_of_the_snapshot(document: dict[str, Any]) -> None:
    now = written(document)
    kept = SNAPSHOT.read_text(encoding="utf-8")
    assert json.loads(kept) == json.loads(now), (
        "the contract has changed; if it should, renew the snapshot with"
        " `python -m tests.service.openapi_document` and commit what it shows"
    )
    assert kept == now


def test_every_example_is_true_to_its_schema(document: dict[str, Any]) -> None:
    checked = set()
    for call, operation in operations(document):
        for where, media_type, content in contents(operation):
            check = validator(document, content.get("schema", {}))
            for example in examples(document, content):
                problems = [error.message for error in check.iter_errors(example)]
                assert problems == [], (call, where, media_type)
                checked.add((call, where))
        for parameter in operation.get("parameters", []):
            if "example" in parameter:
                check = validator(document, parameter["schema"])
                assert list(check.iter_errors(parameter["example"])) == [], call
    assert len(checked) > 100


def test_every_body_has_an_example(document: dict[str, Any]) -> None:
    pages = {
        *("GET /", "GET /docs"),
        *("GET /gallery/{entry_id}/crop", "GET /queries/{query_id}/patterns.png"),
    }
    for call, operation in operations(document):
        for where, media_type, content in contents(operation):
            assert examples(document, content) or call in pages, (call, where, media_type)


def test_every_code_has_an_example_that_says_so(document: dict[str, Any]) -> None:
    kinds = {kind.code: kind for kind in (*OF_CONNECTIONS, *KINDS.values(), INTERNAL)}
    kept = document["components"]["examples"]
    assert kept.keys() == kinds.keys() - UNSEEN
    for code, example in kept.items():
        problem = example["value"]
        assert (problem["code"], problem["status"]) == (code, kinds[code].status)
        assert problem["title"] == kinds[code].title
        assert ("errors" in problem, "reasons" in problem) == (
            code == "invalid_fields",
            code == "not_ready",
        )


def test_the_examples_of_an_answer_are_of_its_status(document: dict[str, Any]) -> None:
    for call, operation in operations(document):
        for status, answer in operation["responses"].items():
            content = answer.get("content", {}).get("application/problem+json", {})
            for problem in examples(document, content):
                assert str(problem["status"]) == status, call
                assert f"`{problem['code']}`" in answer["description"], call


def test_every_route_is_described_and_every_description_is_of_a_route(
    document: dict[str, Any],
) -> None:
    described = {f"{method} {path}" for method, path in CALLS}
    assert {call for call, _ in operations(document)} == described
    unlisted = {("GET", "/openapi.json"), ("GET", "/web/{path}")}
    assert CALLS.keys() == ROLES_OF_CALL.keys() - unlisted


def test_every_call_has_a_name_a_summary_a_tag_and_says_who_may(document: dict[str, Any]) -> None:
    names = [operation["operationId"] for _, operation in operations(document)]
    assert len(set(names)) == len(names)
    for call, operation in operations(document):
        assert operation["operationId"].isidentifier()
        assert operation["summary"]
        assert operation["description"]
        [tag] = operation["tags"]
        assert tag in {described["name"] for described in document["tags"]}
        who = operation["description"].rpartition("\n\n")[2]
        assert who.startswith(("Needs ", "Any key")), call


@pytest.mark.parametrize(
    ("call", "who"),
    [
        ("POST /query", "Needs a key with the role `query` or `admin`."),
        ("POST /gallery", "Needs a key with the role `enroll` or `admin`."),
        ("DELETE /persons/{person_id}", "Needs a key with the role `admin`."),
        ("GET /models", "Any key will do."),
        ("GET /healthz", "Needs no key."),
    ],
)
def test_it_says_which_role_a_call_needs(document: dict[str, Any], call: str, who: str) -> None:
    operation = dict(operations(document))[call]
    assert operation["description"].endswith(f"\n\n{who}")


def test_every_answer_says_its_request_id_and_a_refusal_when_to_come_back(
    document: dict[str, Any],
) -> None:
    for call, operation in operations(document):
        for status, answer in operation["responses"].items():
            assert "X-Request-Id" in answer["headers"], (call, status)
            assert ("Retry-After" in answer["headers"]) == (status in ("429", "503"))
            assert ("WWW-Authenticate" in answer["headers"]) == (status == "401")


@pytest.mark.parametrize(
    ("call", "statuses"),
    [
        ("GET /healthz", "200 500 503"),
        ("GET /models", "200 401 403 429 500 503"),
        ("GET /jobs/{job_id}", "200 401 403 404 429 500 503"),
        ("GET /gallery", "200 401 403 422 429 500 503 507"),
        ("DELETE /gallery/{entry_id}", "204 401 403 404 429 500 503 507"),
        ("PATCH /gallery/{entry_id}", "200 401 403 404 408 413 415 422 429 500 503 507"),
        ("POST /gallery", "201 401 403 408 409 413 415 422 429 500 503 507"),
        ("POST /gallery/batch", "200 401 403 408 413 415 422 429 500 503 507"),
        ("POST /query", "200 401 403 408 413 415 422 429 500 503 507"),
    ],
)
def test_a_call_has_exactly_the_statuses_it_can_give(
    document: dict[str, Any], call: str, statuses: str
) -> None:
    operation = dict(operations(document))[call]
    assert " ".join(operation["responses"]) == statuses


def test_what_is_left_out_is_never_null(document: dict[str, Any]) -> None:
    def has_null(schema: object) -> bool:
        return '"null"' in json.dumps(schema)

    for name in ("Problem", "BatchItem"):
        assert not has_null(document["components"]["schemas"][name])
    for call, operation in operations(document):
        for parameter in operation.get("parameters", []):
            assert not has_null(parameter["schema"]), call
        for where, media_type, content in contents(operation):
            if (where, media_type) == ("request", "multipart/form-data"):
                assert not has_null(content["schema"]), call
    patch = dict(operations(document))["PATCH /gallery/{entry_id}"]["requestBody"]
    assert has_null(patch)  # here null clears a field
