"""What the OpenAPI document says beyond what FastAPI finds out: bodies read by hand, errors.

Says how the document is put together; what it says of each call is `openapi_calls`.
"""

from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from service.access.caller import ROLES
from service.access.roles import EVERY, NO_KEY, ROLES_OF_CALL
from service.bodies.fields import Fields
from service.bodies.idempotency import HEADER, MAX_KEY_LENGTH
from service.bodies.schemas import Problem
from service.describing import openapi_examples as examples
from service.describing.openapi_calls import CALLS, CallDoc
from service.describing.openapi_headers import HEADERS, headers_of
from service.problems import INTERNAL, KINDS, MEDIA_TYPE, OF_CONNECTIONS, Kind

REF: Final = "#/components/{}/{}"
DESCRIPTION: Final = (
    "Visible-infrared person re-identification: enrol crops of persons, then find a person seen"
    " by one kind of camera among the crops of the other.\n\n"
    "Every error is a problem document of RFC 9457; programs read its `code`. Beside what stands"
    " at each call, whoever does not speak HTTP gets 400 `malformed_request`, 408 `slow_request`"
    " or 431 `head_too_long`, a path that is none of these 404 `not_found`, another method 405"
    " `method_not_allowed`. Whatever answers 429 or 503 says in `Retry-After` when to come back."
    "\n\nEvery answer has `X-Request-Id`; a client's own (`[A-Za-z0-9._-]`, up to 64) is kept."
)
TAGS: Final = [
    {"name": "gallery", "description": "Enrol, list, read, change and erase entries."},
    {"name": "search", "description": "Find a person, embed a crop, compare two."},
    {"name": "models", "description": "Which model embeds, and the jobs that change it."},
    {"name": "status", "description": "What an operator asks."},
]
_KINDS: Final[Mapping[str, Kind]] = {
    kind.code: kind for kind in (*OF_CONNECTIONS, *KINDS.values(), INTERNAL)
}


def form_body(kind: type[Fields], *, file_field: str = "file", several: bool) -> dict[str, Any]:
    """Describe a multipart body of fields and files, for `openapi_extra`."""
    schema = without_null(kind.model_json_schema())
    file: dict[str, Any] = {
        "type": "string",
        "format": "binary",
        "description": "An image: JPEG, PNG, WebP, BMP or TIFF, 8 or 16 bits.",
    }
    if several:
        file = {"type": "array", "items": file, "minItems": 1}
    schema["properties"] = {file_field: file, **schema["properties"]}
    schema["required"] = [file_field, *schema.get("required", [])]
    return _body("multipart/form-data", schema)


def files_body(files: Mapping[str, str]) -> dict[str, Any]:
    """Describe a multipart body of files alone, each with what it is, for `openapi_extra`."""
    properties = {
        name: {"type": "string", "format": "binary", "description": description}
        for name, description in files.items()
    }
    schema = {
        "type": "object",
        "properties": properties,
        "required": list(files),
        "additionalProperties": False,
    }
    return _body("multipart/form-data", schema)


def json_body(kind: type[Fields], *, required: bool = True) -> dict[str, Any]:
    """Describe a JSON body, for `openapi_extra`."""
    described = _body("application/json", kind.model_json_schema())
    described["requestBody"]["required"] = required
    return described


def without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Say of the optional properties of a schema that they are left out, never null."""
    required = schema.get("required", [])
    properties = {
        name: field if name in required else _never_null(field)
        for name, field in schema["properties"].items()
    }
    return {**schema, "properties": properties}


def install(app: FastAPI) -> None:
    """Let an application describe itself, its problems and all."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]


def _document(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(
        title=app.title,
        version=app.version,
        description=DESCRIPTION,
        routes=app.routes,
        tags=TAGS,
        license_info={"name": "Apache 2.0", "identifier": "Apache-2.0"},
    )
    for method, path, operation in operations(document):
        _complete(operation, method, path, CALLS[method, path])
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas.update(problem.pop("$defs", {}))
    schemas["Problem"] = without_null(problem)
    schemas["BatchItem"] = without_null(schemas["BatchItem"])
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    components["headers"] = HEADERS
    components["examples"] = {
        code: {"summary": _KINDS[code].title, "value": value}
        for code, value in examples.problem_examples().items()
    }
    components["securitySchemes"] = _SECURITY
    document["security"] = [{"bearer": []}, {"header": []}]
    return document


def operations(document: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield method, path and operation of every call of a document."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def _complete(operation: dict[str, Any], method: str, path: str, call: CallDoc) -> None:
    """Write into an operation what the tables say of its call."""
    operation["operationId"] = call.name
    operation["summary"] = call.summary
    operation["description"] += f"\n\n{_who_may(method, path)}"
    if not ROLES_OF_CALL[method, path]:
        operation["security"] = []
    for parameter in operation.get("parameters", []):
        parameter["schema"] = _never_null(parameter["schema"])
        if parameter["name"] in examples.PATH_VALUES and parameter["in"] == "path":
            parameter["example"] = examples.PATH_VALUES[parameter["name"]]
    if call.keyed:
        operation["parameters"] = [*operation.get("parameters", []), _IDEMPOTENCY_KEY]
    for content in operation.get("requestBody", {}).get("content", {}).values():
        content["example"] = examples.REQUESTS[call.name]
    operation["responses"] = {
        **_success(operation["responses"], call),
        **{str(status): _problem_response(status, call) for status in _statuses(call)},
    }


def _who_may(method: str, path: str) -> str:
    roles = ROLES_OF_CALL[method, path]
    if roles == NO_KEY:
        return "Needs no key."
    if roles == EVERY:
        return "Any key will do."
    names = " or ".join(f"`{role}`" for role in ROLES if role in roles)
    return f"Needs a key with the role {names}."


def _success(responses: Mapping[str, Any], call: CallDoc) -> dict[str, Any]:
    """Return the answer of a call that succeeds, with its headers and an example."""
    if not call.succeeds:
        return {}
    answers = {status: answer for status, answer in responses.items() if int(status) < 400}
    for status, answer in answers.items():
        if answer["description"] == "Successful Response":
            answer["description"] = HTTPStatus(int(status)).phrase
        answer["headers"] = headers_of(*call.headers)
        example = examples.ANSWERS.get(f"{call.name}_{status}", examples.ANSWERS.get(call.name))
        if example is not None:
            for content in answer["content"].values():
                content.setdefault("example", example)
    return answers


def _statuses(call: CallDoc) -> list[int]:
    return sorted({_KINDS[code].status for code in call.codes})


def _problem_response(status: int, call: CallDoc) -> dict[str, Any]:
    codes = sorted(code for code in call.codes if _KINDS[code].status == status)
    listed = {code: {"$ref": REF.format("examples", code)} for code in codes}
    schema = {"$ref": REF.format("schemas", "Problem")}
    more = {401: ("WWW-Authenticate",), 429: ("Retry-After",), 503: ("Retry-After",)}
    return {
        "description": f"{HTTPStatus(status).phrase}: {', '.join(f'`{code}`' for code in codes)}",
        "headers": headers_of(*more.get(status, ())),
        "content": {MEDIA_TYPE: {"schema": schema, "examples": listed}},
    }


def _never_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a field without its null."""
    options = [option for option in schema.get("anyOf", []) if option.get("type") != "null"]
    if len(options) != 1:
        return schema
    said = {name: value for name, value in schema.items() if name not in ("anyOf", "default")}
    return {**options[0], **said}


def _body(media_type: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": {media_type: {"schema": schema}}}}


_IDEMPOTENCY_KEY: Final = {
    "name": HEADER,
    "in": "header",
    "required": False,
    "description": (
        "Makes sending it again safe: a crop without an `entry_id` that comes again under the same"
        " key, at the same position, is the entry that is there. Another crop or modality at that"
        " position is 409 `idempotency_key_reused`. Keys of other callers are other keys."
    ),
    "schema": {
        "type": "string",
        "minLength": 1,
        "maxLength": MAX_KEY_LENGTH,
        "pattern": "^[!-~]([ -~]*[!-~])?$",
    },
    "example": "night-7/part-3",
}
_SECURITY: Final = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": (
            "An API key, made by `mpanet keys create` with its roles: `query` searches, `enroll`"
            " enrols and changes, `admin` may do everything. A service without keys, which listens"
            " on its own machine only, asks for none."
        ),
    },
    "header": {
        "type": "apiKey",
        "in": "header",
        "name": "X-API-Key",
        "description": "The same key, for clients that cannot send `Authorization`.",
    },
}
