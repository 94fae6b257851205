"""The service's figures as Markdown."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def tables(result: Mapping[str, Any]) -> str:
    """All tables of all models."""
    facts = ", ".join(f"{name} {value}" for name, value in result["machine"].items())
    parts = [facts]
    for model in result["models"]:
        plan = model["plan"]
        parts.append(
            f"## {model['model']} ({plan['provider']}, {plan['precision']}); medians of"
            f" {len(model['rounds'])} rounds of {result['seconds']:g} s;"
            f" crops of {model['crop_bytes'] / 1000:.1f} kB on average\n\n"
            f"bare encoder: {plan['threads']} threads decode, batches of {plan['batch']};"
            f" alone, crops/s: "
            + ", ".join(f"{stage} {rate:.0f}" for stage, rate in plan["alone"].items())
        )
        parts.append(throughput(model["rows"]))
        parts += [own_cost(name, row) for name, row in model["rows"].items() if "own_ms" in row]
        parts += [overload(model["overload"])] if "overload" in model else []
        parts += [mixed(model["mixed"])] if "mixed" in model else []
        parts += [enrolled(model["enroll"])] if "enroll" in model else []
        parts += [model["left_out"]] if "left_out" in model else []
        parts.append(f"memory of the service at the end: {model['memory_mb']:.0f} MB")
    return "\n\n".join(parts)


def throughput(rows: Mapping[str, Mapping[str, float]]) -> str:
    """Who did how much, and at which latency.

    By CPU: the bare encoder's processor time a crop over the contender's and its generator's; where
    neighbours take turns on the cores it is steadier than the ratio of speeds.
    """
    head = (
        "contender", "crops/s", "of the bare encoder", "by CPU", "p50, ms", "p99, ms", "failed",
        "batch", "its CPU, ms a crop", "generator's", "others' cores",
    )  # fmt: skip
    return table(
        head,
        [
            (
                name,
                f"{row['per_s']:.1f}",
                _shown(row, "of_ceiling", 3),
                _shown(row, "by_cpu", 3),
                _shown(row, "p50_ms", 1),
                _shown(row, "p99_ms", 1),
                _shown(row, "failed", 0),
                _shown(row, "batch", 1),
                _shown(row, "cpu_ms", 2),
                _shown(row, "generator_ms", 2),
                _shown(row, "neighbours", 2),
            )
            for name, row in rows.items()
        ],
    )


def enrolled(rows: Mapping[str, Mapping[str, float]]) -> str:
    """A folder through `mpanet enroll`."""
    return "`mpanet enroll`\n\n" + table(
        ("run", "enrolled", "already there", "refused", "s", "crops/s", "of the bare encoder",
         "its CPU, ms a crop", "peak memory, MB"),
        [
            (
                name,
                f"{row['enrolled']:.0f}",
                f"{row['already_there']:.0f}",
                f"{row['refused']:.0f}",
                f"{row['seconds']:.1f}",
                f"{row['per_s']:.1f}",
                _shown(row, "of_ceiling", 3),
                f"{row['cpu_ms']:.2f}",
                f"{row['peak_mb']:.0f}",
            )
            for name, row in rows.items()
        ],
    )  # fmt: skip


def own_cost(name: str, row: Mapping[str, float]) -> str:
    """Where a request's time goes: medians, so that they need not add up."""
    stages = ("latency", "decode", "queue", "embed", "search", "own")
    return f"{name}, medians in ms; own: latency less decode, embed and search\n\n" + (
        table(stages, [[f"{row[f'{stage}_ms']:.2f}" for stage in stages]])
    )


def overload(row: Mapping[str, float]) -> str:
    """More than can be done."""
    return "Overload, queries\n\n" + table(
        ("offered/s", "any answer/s", "served/s", "of capacity", "accepted p50, ms", "p99",
         "refused", "refused p50, ms", "p99", "other answers", "not sent", "never answered",
         "generator's CPU, ms"),
        [
            (
                f"{row['offered_per_s']:.0f}",
                f"{row['answered_per_s']:.0f}",
                f"{row['goodput_per_s']:.1f}",
                f"{row['of_capacity']:.3f}",
                f"{row['accepted_p50_ms']:.0f}",
                f"{row['accepted_p99_ms']:.0f}",
                f"{row['refused']:.1%}",
                f"{row['refused_p50_ms']:.1f}",
                f"{row['refused_p99_ms']:.1f}",
                f"{row['other_answers']:.0f}",
                f"{row['unsent']:.0f}",
                f"{row['unanswered']:.0f}",
                f"{row['generator_ms']:.2f}",
            )
        ],
    )  # fmt: skip


def mixed(rows: Mapping[str, Mapping[str, float]]) -> str:
    """Queries beside enrolments."""
    return "Four clients query, four others enrol batches\n\n" + table(
        ("", "queries/s", "p50, ms", "p99, ms", "enrolled/s"),
        [
            (
                name,
                f"{row['per_s']:.1f}",
                f"{row['p50_ms']:.1f}",
                f"{row['p99_ms']:.1f}",
                _shown(row, "enrolled_per_s", 1),
            )
            for name, row in rows.items()
        ],
    )


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table: the first column is text, the others are figures."""
    lines = [head, ("---", *["---:"] * (len(head) - 1)), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _shown(row: Mapping[str, float], name: str, digits: int) -> str:
    return f"{row[name]:.{digits}f}" if name in row else ""
