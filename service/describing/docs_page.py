"""`/docs`: the OpenAPI document as one plain page. Nothing in it comes from another host."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from service.problems import INTERNAL, KINDS, OF_CONNECTIONS

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
  color: #1b1f24; background: #fff }
h2 { margin-top: 2.5rem; font-size: 1.1rem } code, h2 { font-family: ui-monospace, monospace }
table { border-collapse: collapse; width: 100%; margin: .5rem 0 } a { color: #0b57d0 }
td, th { text-align: left; vertical-align: top; padding: .25rem .75rem .25rem 0;
  border-bottom: 1px solid #d0d7de }
@media (prefers-color-scheme: dark) { body { color: #e6edf3; background: #0d1117 }
  td, th { border-color: #30363d } a { color: #79b8ff } }
"""


def docs_page(document: Mapping[str, Any]) -> str:
    """Render an OpenAPI document as HTML."""
    info = document["info"]
    operations = "".join(
        _operation(method.upper(), path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    )
    title = f"{escape(info['title'])} {escape(info['version'])}"
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style>'
        f"<h1>{title}</h1>{_paragraphs(info['description'])}"
        f'<p><a href="/openapi.json">openapi.json</a></p>{operations}{_codes()}</html>'
    )


def _operation(method: str, path: str, operation: Mapping[str, Any]) -> str:
    rows = [
        (item["name"], item["in"], _type(item["schema"]), item.get("description", ""))
        for item in operation.get("parameters", [])
    ]
    for content in operation.get("requestBody", {}).get("content", {}).values():
        schema = content["schema"]
        rows += [
            (
                name,
                "required" if name in schema.get("required", []) else "optional",
                _type(field),
                field.get("description", ""),
            )
            for name, field in schema.get("properties", {}).items()
        ]
    answers = [(status, answer["description"]) for status, answer in operation["responses"].items()]
    return (
        f"<h2>{method} {escape(path)}</h2>{_paragraphs(operation.get('description', ''))}"
        f"{_table(('field', '', 'type', ''), rows)}{_table(('answer', ''), answers)}"
    )


def _paragraphs(text: str) -> str:
    return "".join(f"<p>{escape(paragraph)}</p>" for paragraph in text.split("\n\n"))


def _type(schema: Mapping[str, Any]) -> str:
    """Name the type of a field in a few words."""
    if "anyOf" in schema:
        return " or ".join(_type(option) for option in schema["anyOf"])
    if "enum" in schema:
        return " | ".join(str(value) for value in schema["enum"])
    if schema.get("type") == "array":
        return f"{_type(schema.get('items', {}))}, several"
    name = str(schema.get("format", schema.get("type", "any")))
    if "minimum" in schema and "maximum" in schema:
        name += f" {schema['minimum']} to {schema['maximum']}"
    return name


def _codes() -> str:
    kinds = sorted(
        {*KINDS.values(), *OF_CONNECTIONS, INTERNAL}, key=lambda kind: (kind.status, kind.code)
    )
    rows = "".join(
        f'<tr id="{kind.code}"><td>{kind.status}<td><code>{kind.code}</code><td>{kind.title}'
        for kind in kinds
    )
    return f"<h2>codes of problems</h2><table>{rows}</table>"


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    if not rows:
        return ""
    lines = "".join("<tr>" + "".join(f"<td>{escape(cell)}" for cell in row) for row in rows)
    heading = "".join(f"<th>{cell}" for cell in head)
    return f"<table><tr>{heading}{lines}</table>"
