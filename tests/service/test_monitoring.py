"""The monitoring profile, without Docker: what it asks for is there, what it opens is local."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from service.problems import INTERNAL, KINDS
from tests.service.prometheus_text import ReadFamily
from tests.service.test_observability_page import families_of, table

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
OF_PROMETHEUS = {"up"}
LABELS_OF_PROMETHEUS = {"job", "instance", "le"}
WORDS = {"and", "or", "unless", "by", "on", "sum", "min", "max"}
MONITORING = {"prometheus", "grafana"}


def compose() -> dict[str, Any]:
    services: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    return services


def alerts() -> dict[str, dict[str, Any]]:
    [group] = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())["groups"]
    return {rule["alert"]: rule for rule in group["rules"]}


def panels() -> list[dict[str, Any]]:
    dashboard = json.loads((DEPLOY / "grafana" / "dashboards" / "mpanet.json").read_text())
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def expressions() -> list[str]:
    drawn = [target["expr"] for panel in panels() for target in panel["targets"]]
    return drawn + [rule["expr"] for rule in alerts().values()]


def asked_of(expression: str) -> list[tuple[str, dict[str, str]]]:
    """Return the metrics that an expression names, with the labels that it wants of each."""
    bare = re.sub(r"\[[^\]]*\]", "", expression)
    bare = re.sub(r"\b(by|on)\s*\([^)]*\)", "", bare)
    found = []
    for name, braces, call in re.findall(r"([a-zA-Z_]\w*)\s*(\{[^}]*\})?\s*(\()?", bare):
        if not call and name not in WORDS:
            found.append((name, dict(re.findall(r'(\w+)\s*=~?\s*"([^"]*)"', braces))))
    return found


def family_of(name: str, families: dict[str, ReadFamily]) -> ReadFamily | None:
    base = re.sub("_(bucket|sum|count)$", "", name)
    if base in families and families[base].type == "histogram":
        return families[base] if base != name else None
    return families.get(name)


def test_the_reader_of_expressions_sees_every_metric() -> None:
    expression = 'sum by (a) (rate(x_total{c="d"}[5m])) / y > 0 or z_bucket unless on (instance) w'
    assert asked_of(expression) == [("x_total", {"c": "d"}), ("y", {}), ("z_bucket", {}), ("w", {})]


@pytest.mark.parametrize("expression", expressions())
def test_every_metric_that_is_drawn_or_watched_is_one_of_the_service(
    busy_http: httpx.Client, expression: str
) -> None:
    families = families_of(busy_http)
    asked = asked_of(expression)
    assert asked
    for name, wanted in asked:
        if name in OF_PROMETHEUS:
            continue
        family = family_of(name, families)
        assert family is not None, f"/metrics has no {name}"
        labels = {label for _, pairs in family.samples for label, _ in pairs}
        assert wanted.keys() <= labels | LABELS_OF_PROMETHEUS
        for label, value in wanted.items():
            if label == "code":
                assert value in {INTERNAL.code, *(kind.code for kind in KINDS.values())}
            elif label not in LABELS_OF_PROMETHEUS:
                there = {text for _, pairs in family.samples for key, text in pairs if key == label}
                assert set(value.split("|")) & there


@pytest.mark.parametrize("expression", expressions())
def test_what_is_grouped_by_is_a_label(busy_http: httpx.Client, expression: str) -> None:
    families = families_of(busy_http)
    known = {
        label
        for name, _ in asked_of(expression)
        if (family := family_of(name, families)) is not None
        for _, pairs in family.samples
        for label, _ in pairs
    }
    for group in re.findall(r"\bby\s*\(([^)]*)\)", expression):
        assert {label.strip() for label in group.split(",")} <= known | LABELS_OF_PROMETHEUS


def test_every_panel_has_its_place_and_the_provisioned_source() -> None:
    source = yaml.safe_load(
        (DEPLOY / "grafana" / "provisioning" / "datasources" / "prometheus.yml").read_text()
    )["datasources"][0]
    places: set[tuple[int, int]] = set()
    for panel in panels():
        assert panel["datasource"] == {"type": source["type"], "uid": source["uid"]}
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & places, panel["title"]
        assert max(x for x, _ in cells) < 24
        places |= cells


def test_every_alert_is_described_and_tested() -> None:
    described = [row[0].strip("`") for row in table("Prometheus and Grafana", "alert")]
    assert described == [
        "MpanetDown",
        "MpanetStoreNotReady",
        "MpanetEncoderFailing",
        "MpanetNotAudited",
        "MpanetDiskFull",
        "MpanetDiskFillingUp",
        "MpanetQueueFull",
        "MpanetBreakdowns",
        "MpanetRecallBelowTarget",
        "MpanetScoreDrift",
        "MpanetDamagedRows",
    ]
    assert list(alerts()) == described
    tests = (DEPLOY / "prometheus" / "alerts_test.yml").read_text()
    for name, rule in alerts().items():
        assert set(rule["annotations"]) == {"summary", "description"}
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert f'alertname="{name}"' in tests


def test_the_profile_is_closed_to_others_and_pinned() -> None:
    services = compose()
    assert {name for name, one in services.items() if "monitoring" in one.get("profiles", [])} == (
        MONITORING
    )
    for name in MONITORING:
        service = services[name]
        assert re.fullmatch(r"(prom|grafana)/\w+:v?\d+\.\d+\.\d+", service["image"])
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
        for volume in service["volumes"]:
            path = volume.split(":")[0]
            assert not path.startswith("./") or (ROOT / path).exists(), path


def test_prometheus_scrapes_the_services_of_the_project_where_they_listen() -> None:
    [scrape] = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())[
        "scrape_configs"
    ]
    [found] = scrape["dns_sd_configs"]
    assert set(found["names"]) == {"mpanet", "mpanet-gpu"} <= compose().keys()
    for name in found["names"]:
        assert compose()[name]["ports"][0].endswith(f":{found['port']}")
    assert scrape["authorization"] == {"credentials_file": "/run/mpanet/key"}
    assert compose()["prometheus"]["tmpfs"][0].startswith("/run/mpanet:mode=0700")


@pytest.mark.parametrize(
    ("given", "written"), [("", ""), ("one", "one"), ("one,two", "one"), ("a b$c,d", "a b$c")]
)
def test_the_first_key_goes_into_a_file_of_prometheus_alone(
    tmp_path: Path, given: str, written: str
) -> None:
    program = tmp_path / "prometheus"
    program.write_text('#!/bin/sh\necho "${SCRAPE_KEY-unset} $*"\n')
    program.chmod(0o755)
    key = tmp_path / "key"
    ran = subprocess.run(
        ["/bin/sh", DEPLOY / "prometheus" / "start.sh", "--some=option"],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}", "KEY_FILE": str(key), "SCRAPE_KEY": given},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout == "unset --some=option\n"
    assert key.read_text() == written
    assert key.stat().st_mode & 0o777 == 0o600


def test_an_empty_key_is_no_hindrance_where_none_is_asked_for(http: httpx.Client) -> None:
    assert http.get("/metrics", headers={"Authorization": "Bearer"}).status_code == 200


@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs Prometheus' promtool")
def test_the_alerts_fire_when_they_should_and_only_then() -> None:
    ran = subprocess.run(
        ["promtool", "test", "rules", DEPLOY / "prometheus" / "alerts_test.yml"],
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
