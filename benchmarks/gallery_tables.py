"""The gallery benchmark's figures as Markdown tables and as a plot."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.gallery_plot import Panel, plot

Figures = Mapping[str, Any]


def tables(result: Figures) -> str:
    """Everything, size by size."""
    machine = ", ".join(f"{key} {value}" for key, value in result["machine"].items())
    sizes: Sequence[Figures] = result["sizes"]
    parts = [
        machine,
        _table(["", *(f"{size['entries']:,} entries" for size in sizes)], _overview(sizes)),
        _table(
            ["entries", "queries", "recall@10", "p50, ms", "p99", "cold p50", "cold p99", "scored"],
            [row for size in sizes for row in _slices(size)],
        ),
        _table(
            ["entries", "search", "recall@10", "p50, ms", "p99", "p50 / ours", "MB", "built in, s"],
            [row for size in sizes for row in _comparison(size)],
        ),
        *(
            f"{size['entries']:,}, {name}: {notes}"
            for size in sizes
            for name, peer in size["peers"].items()
            if (notes := peer.get("skipped") or peer.get("note"))
        ),
    ]
    return "\n\n".join(parts)


def figure(result: Figures) -> str:
    """Latency and memory over size, as SVG."""
    sizes: Sequence[Figures] = result["sizes"]
    warm = [_all(size, "warm_ms") for size in sizes]
    memory = {
        "all, after queries": [size["queries"]["memory_mb"]["VmRSS"] for size in sizes],
        "of it anonymous": [size["queries"]["memory_mb"]["RssAnon"] for size in sizes],
        "peak, enrolling": [size["build"]["peak_mb"] for size in sizes],
    }
    latency = {
        name: [_percentile(times, percent) for times in warm]
        for name, percent in (("p50", 50), ("p99", 99))
    }
    panels = [Panel("Latency of a query", "ms", latency), Panel("Resident memory", "MB", memory)]
    return plot([size["entries"] for size in sizes], panels)


def _overview(sizes: Sequence[Figures]) -> list[list[str]]:
    def row(name: str, text: str, values: Iterable[Any]) -> list[str]:
        return [name, *(format(value, text) for value in values)]

    build = [size["build"] for size in sizes]
    queries = [size["queries"] for size in sizes]
    starts = [size["starts"] for size in sizes]
    return [
        row("enrolled a second (crops kept nowhere)", ",.0f", (b["entries_per_s"] for b in build)),
        row("upkeep left after the last, s", ".1f", (b["upkeep_s"] for b in build)),
        row("peak memory of enrolling, MB", ",.0f", (b["peak_mb"] for b in build)),
        row("first stage", "", (b["index_kind"] for b in build)),
        row("index in memory, MB", ",.0f", (b["index_mb"] for b in build)),
        row("recall@10 by the gallery's own measure", ".4f", (b["own_recall"] for b in build)),
        row("on disk, MB", ",.0f", (sum(b["files_mb"].values()) for b in build)),
        row("ready after a restart, s", ".2f", (s["warm"]["ready_s"] for s in starts)),
        row("the same, no file cached, s", ".2f", (s["cold"]["ready_s"] for s in starts)),
        row(
            f"the same, killed {starts[0]['killed']['enrolled']:,} entries after a snapshot, s",
            ".2f",
            (s["killed"]["ready_s"] for s in starts),
        ),
        row("memory after it, MB", ",.0f", (s["warm"]["memory_mb"]["VmRSS"] for s in starts)),
        row("memory after all queries, MB", ",.0f", (q["memory_mb"]["VmRSS"] for q in queries)),
        row("of it anonymous", ",.0f", (q["memory_mb"]["RssAnon"] for q in queries)),
        row("of it mapped files", ",.0f", (q["memory_mb"]["RssFile"] for q in queries)),
        row("recall@10, worst slice", ".4f", (min(_recalls(q)) for q in queries)),
        *(
            row(f"{temperature}, p{percent}, ms", ".1f", _percentiles(sizes, key, percent))
            for temperature, key in (("files warm", "warm_ms"), ("files cold", "cold_ms"))
            for percent in (50, 99)
        ),
        *(
            row(
                f"queries a second, {threads} threads",
                ".0f",
                (q["queries_per_s"][threads] for q in queries),
            )
            for threads in queries[0]["queries_per_s"]
        ),
    ]


def _slices(size: Figures) -> list[list[str]]:
    rows = []
    for found in size["queries"]["slices"]:
        times = [
            f"{_percentile(found[key], percent):.1f}"
            for key in ("warm_ms", "cold_ms")
            for percent in (50, 99)
        ]
        recall, scored = f"{found['recall']:.4f}", f"{found['scored']:,.0f}"
        rows.append([f"{size['entries']:,}", found["name"], recall, *times, scored])
    return rows


def _comparison(size: Figures) -> list[list[str]]:
    """Each peer's row, and ours over all slices; ratios are to ours on the peer's queries."""
    ours, entries = size["queries"], f"{size['entries']:,}"
    times = _all(size, "warm_ms")
    rows = [
        [
            entries,
            "this gallery",
            f"{np.mean(_recalls(ours)):.4f}",
            f"{_percentile(times, 50):.1f}",
            f"{_percentile(times, 99):.1f}",
            "1.0",
            f"{ours['memory_mb']['VmRSS']:,.0f}",
            f"{size['entries'] / size['build']['entries_per_s']:,.0f}",
        ]
    ]
    for name, peer in size["peers"].items():
        if "skipped" in peer:
            rows.append([entries, name, *["-"] * 6])
            continue
        theirs = [time for found in peer["slices"] for time in found["warm_ms"]]
        rows.append(
            [
                entries,
                name,
                f"{np.mean(_recalls(peer)):.4f}",
                f"{_percentile(theirs, 50):.1f}",
                f"{_percentile(theirs, 99):.1f}",
                f"{_percentile(theirs, 50) / _percentile(_same_queries(ours, peer), 50):.1f}",
                f"{peer['memory_mb']['VmRSS']:,.0f}",
                f"{peer['build_s']:,.0f}",
            ]
        )
    return rows


def _same_queries(ours: Figures, peer: Figures) -> list[float]:
    asked = {found["name"]: len(found["warm_ms"]) for found in peer["slices"]}
    return [
        time for found in ours["slices"] for time in found["warm_ms"][: asked.get(found["name"], 0)]
    ]


def _all(size: Figures, key: str) -> list[float]:
    return [time for found in size["queries"]["slices"] for time in found[key]]


def _percentiles(sizes: Sequence[Figures], key: str, percent: float) -> list[float]:
    return [_percentile(_all(size, key), percent) for size in sizes]


def _percentile(values: Sequence[float], percent: float) -> float:
    return float(np.percentile(values, percent))


def _recalls(figures: Figures) -> list[float]:
    return [found["recall"] for found in figures["slices"]]


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
