"""The text format of Prometheus, version 0.0.4: families of samples, written out.

Knows the format only; what is measured is `metrics`.
Source: https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

MEDIA_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

FamilyType = Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True, slots=True)
class Sample:
    """One number; `suffix` is what its name has beyond the family's."""

    value: float
    labels: Mapping[str, str] = field(default_factory=dict)
    suffix: str = ""


@dataclass(frozen=True, slots=True)
class Family:
    """Samples of one name with what they mean."""

    name: str
    type: FamilyType
    help: str
    samples: Sequence[Sample]


def gauge(name: str, help: str, value: float | None) -> Family:
    """Return a gauge of one sample, or of none where nothing is known."""
    return Family(name, "gauge", help, [] if value is None else [Sample(value)])


def counter(name: str, help: str, value: float) -> Family:
    """Return a counter of one sample."""
    return Family(name, "counter", help, [Sample(value)])


class Histogram:
    """Counts observations up to each bound; keeps their number and sum."""

    def __init__(self, bounds: Sequence[float]) -> None:
        """Bounds ascend; the last bucket, without a bound, is added."""
        self._bounds = [*bounds, float("inf")]
        self._counts = [0] * len(self._bounds)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count one observation."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def samples(self, labels: Mapping[str, str]) -> list[Sample]:
        """Return the cumulative buckets, the sum and the number of observations."""
        samples, total = [], 0
        for bound, count in zip(self._bounds, self._counts, strict=True):
            total += count
            samples.append(Sample(total, {**labels, "le": _number(bound)}, "_bucket"))
        return [*samples, Sample(self._sum, labels, "_sum"), Sample(total, labels, "_count")]


def exposition(families: Iterable[Family]) -> str:
    """Write families as text; one without samples is left out."""
    return "".join(_text(family) for family in families if family.samples)


def _text(family: Family) -> str:
    help = family.help.replace("\\", r"\\").replace("\n", r"\n")
    lines = [f"# HELP {family.name} {help}", f"# TYPE {family.name} {family.type}"]
    for sample in family.samples:
        labels = ",".join(f'{name}="{_escaped(text)}"' for name, text in sample.labels.items())
        shown = f"{{{labels}}}" if labels else ""
        lines.append(f"{family.name}{sample.suffix}{shown} {_number(sample.value)}")
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _number(value: float) -> str:
    if value == float("inf"):
        return "+Inf"
    return str(int(value)) if float(value).is_integer() else repr(float(value))
