"""`docs/observability.md` and the service say the same, in both directions."""

import json
import logging
import re
from pathlib import Path

import httpx
import pytest

from service.observing.logging_format import formatter
from tests.service.prometheus_text import ReadFamily, read_exposition

PAGE = Path(__file__).parents[2] / "docs" / "observability.md"


def table(heading: str, first: str) -> list[list[str]]:
    """Return the cells of the table under a heading whose first column has this name."""
    section = PAGE.read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in section.splitlines()
        if line.startswith("|")
    ]
    start = next(i for i, row in enumerate(rows) if row[0] == first)
    return rows[start + 2 :]


def names(cell: str) -> set[str]:
    return set(re.findall(r"`([^`]+)`", cell))


def families_of(http: httpx.Client) -> dict[str, ReadFamily]:
    return read_exposition(http.get("/metrics").text)


def test_the_table_has_every_metric_and_no_other(busy_http: httpx.Client) -> None:
    described = [row[0].strip("`") for row in table("Metrics", "metric")]
    assert len(described) == len(set(described))
    assert set(described) == set(families_of(busy_http))


def test_the_table_has_every_label_and_no_other(busy_http: httpx.Client) -> None:
    for name, family in families_of(busy_http).items():
        labels = {label for _, pairs in family.samples for label, _ in pairs} - {"le"}
        [row] = [row for row in table("Metrics", "metric") if row[0] == f"`{name}`"]
        assert names(row[1]) == labels, name


def test_the_table_names_every_stage(busy_http: httpx.Client) -> None:
    samples = families_of(busy_http)["mpanet_stage_seconds"].samples
    stages = {dict(pairs)["stage"] for _, pairs in samples}
    [row] = [row for row in table("Metrics", "metric") if row[0] == "`mpanet_stage_seconds`"]
    assert names(row[2]) == stages


def test_counters_and_units_are_named_as_prometheus_has_it(busy_http: httpx.Client) -> None:
    for name, family in families_of(busy_http).items():
        assert re.fullmatch("(mpanet|process)(_[a-z0-9]+)+", name)
        assert name.endswith("_total") == (family.type == "counter"), name
        assert not re.search("_(ms|milliseconds|kb|mb|count|sum|bucket)$", name), name


def test_the_table_of_log_fields_is_what_is_logged(
    busy_http: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "service.requests"):
        busy_http.get("/nowhere")
        busy_http.get("/models")
    logged: set[str] = set()
    for record in caplog.records:
        if record.name == "service.requests":
            logged |= json.loads(formatter("json").format(record)).keys()
    described = set[str]().union(*(names(row[0]) for row in table("Logs", "field")))
    assert logged == described | {"time", "level", "logger", "message"}


def test_the_table_of_checks_is_what_readyz_asks(busy_http: httpx.Client) -> None:
    asked = [check["name"] for check in busy_http.get("/readyz").json()["checks"]]
    assert asked == [row[0].strip("`") for row in table("Health", "check")]
