"""Elements of HTML and SVG as text. What is not markup is escaped where it enters one."""

from collections.abc import Iterable
from html import escape

VOID_ELEMENTS = frozenset({"br", "img", "meta"})


class Markup(str):
    """Text that is markup: `element` takes it as it is and escapes every other text."""

    __slots__ = ()


def element(name: str, /, *children: str, **attributes: object) -> Markup:
    """One element with its children.

    Attributes are named as Python can: `class_` is `class`, `stroke_width` is `stroke-width`.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_escaped(str(value))}"'
        for key, value in attributes.items()
    )
    if name in VOID_ELEMENTS:
        return Markup(f"<{name}{written}>")
    return Markup(f"<{name}{written}>{join(children)}</{name}>")


def join(parts: Iterable[str]) -> Markup:
    """The parts one after the other, escaped where they are not markup."""
    return Markup("".join(part if isinstance(part, Markup) else _escaped(part) for part in parts))


def _escaped(text: str) -> str:
    """Escape; bytes of a file name that are no UTF-8 become visible instead of unwritable."""
    return escape(text.encode("utf-8", "backslashreplace").decode("utf-8"))
