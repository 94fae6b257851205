"""A small strict reader of Prometheus' text format, for tests; knows nothing of the writer."""

import re
from dataclasses import dataclass, field

_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_LABEL = r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"'
_SAMPLE = re.compile(rf"({_NAME})(?:\{{({_LABEL}(?:,{_LABEL})*)\}})? (\S+)")
_SUFFIXES = {"histogram": ("_bucket", "_sum", "_count"), "counter": ("",), "gauge": ("",)}
_ESCAPES = {'\\"': '"', "\\\\": "\\", "\\n": "\n"}

Labels = frozenset[tuple[str, str]]


@dataclass
class ReadFamily:
    """One family: its type, its help, its samples by suffix and labels."""

    type: str
    help: str
    samples: dict[tuple[str, Labels], float] = field(default_factory=dict)

    def value(self, suffix: str = "", **labels: str) -> float:
        """Return the one sample with these labels."""
        return self.samples[suffix, frozenset(labels.items())]


def read_exposition(text: str) -> dict[str, ReadFamily]:
    """Read an exposition; fails on whatever the format does not allow."""
    assert text.endswith("\n")
    families: dict[str, ReadFamily] = {}
    name, helped = "", ""
    for line in text[:-1].split("\n"):
        if line.startswith("# HELP "):
            _, _, helped, explained = line.split(" ", 3)
            assert re.fullmatch(_NAME, helped)
            assert explained
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name == helped, f"{name} has no help of its own"
            assert name not in families, f"{name} comes twice"
            families[name] = ReadFamily(kind, explained)
        else:
            _read_sample(line, name, families[name])
    for name, family in families.items():
        assert family.samples, f"{name} says nothing"
        if family.type == "histogram":
            _check_histogram(family)
    return families


def _read_sample(line: str, name: str, family: ReadFamily) -> None:
    match = _SAMPLE.fullmatch(line)
    assert match, line
    assert match[1].startswith(name), line
    suffix = match[1].removeprefix(name)
    assert suffix in _SUFFIXES[family.type], line
    pairs = [
        (label, re.sub(r"\\.", lambda escape: _ESCAPES[escape[0]], text))
        for label, text in re.findall(_LABEL, match[2] or "")
    ]
    assert len({label for label, _ in pairs}) == len(pairs), line
    key = suffix, frozenset(pairs)
    assert key not in family.samples, line
    family.samples[key] = float(match.groups()[-1])


def _check_histogram(family: ReadFamily) -> None:
    """Buckets ascend and never fall; the last, +Inf, is the number of observations."""
    series: dict[Labels, list[tuple[float, float]]] = {}
    for (suffix, labels), value in family.samples.items():
        if suffix == "_bucket":
            bound = float(dict(labels)["le"])
            rest = frozenset((label, text) for label, text in labels if label != "le")
            series.setdefault(rest, []).append((bound, value))
    for labels, buckets in series.items():
        assert buckets == sorted(buckets)
        assert buckets[-1] == (float("inf"), family.samples["_count", labels])
        counts = [count for _, count in buckets]
        assert counts == sorted(counts)
        assert ("_sum", labels) in family.samples
