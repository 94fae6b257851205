"""What the OpenAPI document says beyond what FastAPI finds out: bodies read by hand, errors."""

from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from service.fields import Fields
from service.problems import KINDS, MEDIA_TYPE
from service.schemas import Problem

PROBLEM_REF = {"$ref": "#/components/schemas/Problem"}
DESCRIPTION = (
    "Visible-infrared person re-identification: enrol crops of persons, then find a person seen"
    " by one kind of camera among the crops of the other. Every error is a problem document of"
    " RFC 9457; programs read its `code`."
)


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe the errors of a call; those that every call may answer are added."""
    return {status: _problem_response(status) for status in sorted({*statuses, 401, 500})}


def form_body(kind: type[Fields], *, file_field: str = "file", several: bool) -> dict[str, Any]:
    """Describe a multipart body of fields and files, for `openapi_extra`."""
    schema = kind.model_json_schema()
    file: dict[str, Any] = {"type": "string", "format": "binary"}
    if several:
        file = {"type": "array", "items": file, "minItems": 1}
    schema["properties"] = {file_field: file, **schema["properties"]}
    schema["required"] = [file_field, *schema.get("required", [])]
    return _body("multipart/form-data", schema)


def json_body(kind: type[Fields]) -> dict[str, Any]:
    """Describe a JSON body, for `openapi_extra`."""
    return _body("application/json", kind.model_json_schema())


def install(app: FastAPI) -> None:
    """Let an application describe itself with the schema of its problems."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]


def _document(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(
        title=app.title, version=app.version, description=DESCRIPTION, routes=app.routes
    )
    _drop_own_errors(document)
    components = document.setdefault("components", {})
    template = "#/components/schemas/{model}"
    problem = Problem.model_json_schema(ref_template=template)
    schemas = components.setdefault("schemas", {})
    schemas.update(problem.pop("$defs", {}))
    schemas["Problem"] = problem
    components["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer"},
        "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    }
    document["security"] = [{}, {"bearer": []}, {"header": []}]
    return document


def _drop_own_errors(document: dict[str, Any]) -> None:
    """Take out FastAPI's form of a 422; where one can happen the call says so itself."""
    for methods in document["paths"].values():
        for operation in methods.values():
            answer = operation["responses"].get("422", {})
            if "application/json" in answer.get("content", {}):
                del operation["responses"]["422"]
    schemas = document.get("components", {}).get("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)


def _body(media_type: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": {media_type: {"schema": schema}}}}


def _problem_response(status: int) -> dict[str, Any]:
    codes = sorted(_codes(status)) or [HTTPStatus(status).name.lower()]
    return {
        "description": f"{HTTPStatus(status).phrase}: {', '.join(codes)}",
        "content": {MEDIA_TYPE: {"schema": PROBLEM_REF}},
    }


def _codes(status: int) -> Iterable[str]:
    return {kind.code for kind in KINDS.values() if kind.status == status}
