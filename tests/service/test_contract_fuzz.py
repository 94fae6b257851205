"""schemathesis over the whole document, against a real service: it does nothing undeclared.

`CONTRACT_FUZZ_EXAMPLES` says how many requests of each kind and call (15); the seed is fixed.
"""

import os
from collections.abc import Iterator
from typing import Any, TypeAlias

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from schemathesis.checks import load_all_checks
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.mpanet.serving import environment, service
from tests.service.fakes import crop
from tests.service.openapi_document import served_document
from tests.service.tiny_artifact import write_tiny_artifact

EXAMPLES = int(os.environ.get("CONTRACT_FUZZ_EXAMPLES", "15"))
SEED = 20261125
Case: TypeAlias = schemathesis.Case[Any]
KEY = {"Authorization": "Bearer a-key-of-the-fuzzer"}
CONFORMANCE = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
DOCUMENT = served_document()
CALLS = [
    (method.upper(), path) for path, methods in DOCUMENT["paths"].items() for method in methods
]
KEYED = [call for call in CALLS if call not in {("GET", "/healthz"), ("GET", "/")}]
DESCRIBED = schemathesis.GenerationMode.POSITIVE
OTHER = schemathesis.GenerationMode.NEGATIVE
CASES = [(call, DESCRIBED) for call in CALLS] + [(call, OTHER) for call in KEYED]
"""Requests as the document describes them, and others; the calls that need no key take nothing."""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    directory = tmp_path_factory.mktemp("fuzzed")
    model = write_tiny_artifact(directory / "tiny").directory
    env = environment(MPANET_API_KEY="a-key-of-the-fuzzer")
    with service(model, directory / "data", env=env) as running:
        yield running.url


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    with requests.Session() as session:
        yield session


def operation(url: str, method: str, path: str) -> schemathesis.APIOperation[Any, Any, Any, Any]:
    load_all_checks()
    schema = schemathesis.openapi.from_dict(DOCUMENT)
    schema.config.update(base_url=url)
    return schema[path][method]


def with_images(case: Case, seeds: list[int]) -> None:
    """Let the files of a form be images: bytes at random never are."""
    if not isinstance(case.body, dict):
        return
    body: dict[str, Any] = {**case.body}
    for name in body.keys() & {"file", "files"}:
        if isinstance(body[name], list):
            body[name] = [crop(number) for number in seeds[: len(body[name])]]
        elif isinstance(body[name], bytes):
            body[name] = crop(seeds[0])
    case.body = body


def check(url: str, call: tuple[str, str], mode: Any, examples: int, probe: Any) -> None:
    """Let `probe` see so many cases of a call, the same ones each time."""

    @seed(SEED)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(
        case=operation(url, *call).as_strategy(generation_mode=mode),
        seeds=st.one_of(st.none(), st.lists(st.integers(0, 99), min_size=9, max_size=9)),
    )
    def run(case: Case, seeds: list[int] | None) -> None:
        if seeds is not None and mode is DESCRIBED:
            with_images(case, seeds)
        probe(case)

    run()


@pytest.mark.parametrize(
    ("call", "mode"), CASES, ids=[f"{' '.join(call)} {mode.value}" for call, mode in CASES]
)
def test_an_answer_is_as_the_document_says(
    url: str, session: requests.Session, call: tuple[str, str], mode: Any
) -> None:
    def probe(case: Case) -> None:
        response = case.call(base_url=url, session=session, headers=KEY, allow_redirects=False)
        assert response.status_code < 500 or response.status_code == 503, response.text
        more = [negative_data_rejection] if mode is OTHER else []
        case.validate_response(response, checks=[*CONFORMANCE, *more], headers=KEY)

    check(url, call, mode, EXAMPLES, probe)


@pytest.mark.parametrize("call", KEYED, ids=" ".join)
def test_whoever_has_no_key_gets_in_nowhere(
    url: str, session: requests.Session, call: tuple[str, str]
) -> None:
    def probe(case: Case) -> None:
        for headers, code in (({}, "key_required"), ({"X-API-Key": "guessed"}, "key_unknown")):
            case.headers.clear()
            response = case.call(base_url=url, session=session, headers=headers)
            assert (response.status_code, response.json()["code"]) == (401, code)

    check(url, call, DESCRIBED, 3, probe)
