"""A page read back: whether it is well-formed, and what it says where."""

from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"br", "img", "meta"}


@dataclass
class Node:
    """One element with its attributes, its text and the elements in it."""

    name: str
    attributes: dict[str, str]
    children: list["Node | str"] = field(default_factory=list)

    def all(self, name: str, css_class: str | None = None) -> list["Node"]:
        """Every element of that name below this one, in order; of that class, if given."""
        found = []
        for child in self.children:
            if isinstance(child, Node):
                classes = child.attributes.get("class", "").split()
                if child.name == name and (css_class is None or css_class in classes):
                    found.append(child)
                found += child.all(name, css_class)
        return found

    @property
    def text(self) -> str:
        """What a person reads in it, parts apart by a blank."""
        parts = [child if isinstance(child, str) else child.text for child in self.children]
        return " ".join(" ".join(parts).split())


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open = [Node("document", {})]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs), f"{tag}: an attribute twice"
        node = Node(tag, {name: value or "" for name, value in attrs})
        self.open[-1].children.append(node)
        if tag not in VOID:
            self.open.append(node)

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1].name == tag, f"</{tag}> closes <{self.open[-1].name}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.open[-1].children.append(data)


def read_page(text: str) -> Node:
    """Parse a page; fails where an element is not closed in order, or an attribute stands twice."""
    reader = _Reader()
    reader.feed(text)
    reader.close()
    assert [node.name for node in reader.open] == ["document"], "elements are left open"
    return reader.open[0]


def section(page: Node, name: str) -> Node:
    """The one section of that id."""
    (found,) = [node for node in page.all("section") if node.attributes["id"] == name]
    return found
