"""The rules for Prometheus, the board and the runbooks: nothing in them that is not there."""

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
import typer.core
import typer.main
import yaml  # type: ignore[import-untyped] # its stubs are a package of their own

from scripts.alert_rules import expression, rules_file
from scripts.grafana_board import PANELS, board
from scripts.reference import commands
from tests.app.serving import CLIENT_KEY, ask, serving
from tests.fakes.provider import FakeProvider
from tests.keeper.processes import write_config
from weighbridge.cli.root import root
from weighbridge.records.alerts import ALERTS
from weighbridge.store.alerts import runbook

METRIC = re.compile(r"\bweighbridge_\w+\b(?=[\[{ )]|$)")
FALLBACK = """
[[endpoint]]
name = "second"
base_url = "{base_url}"
concurrency_max = 10
[[arm]]
name = "spare"
endpoint = "second"
model = "model-c"
price = {{ input = "1", output = "2" }}
"""


def named(text: str) -> set[str]:
    return set(METRIC.findall(re.sub(r'"[^"]*"', '""', text)))


def test_every_metric_of_a_rule_or_a_panel_is_one_of_a_running_gateway(tmp_path: Path) -> None:
    wanted = {name for kind in ALERTS for name in named(expression(kind))}
    wanted |= {name for panel in PANELS for query, _ in panel.queries for name in named(query)}
    wanted |= set(re.findall(r"label_values\((\w+),", board()))
    with FakeProvider() as provider:
        file = write_config(tmp_path, provider.url)
        routed = file.read_text().replace('incumbent = "incumbent"', 'incumbent = "incumbent"\nfallbacks = ["spare"]')
        file.write_text(routed + FALLBACK.format(base_url=provider.url))
        with serving(file) as served:
            assert 200 == ask(served.listen, key=CLIENT_KEY).status
            assert 401 == ask(served.listen, key="wrong").status
            page = served.page("/metrics")[1]
    there = set(re.findall(r"^(weighbridge_\w+)[ {]", page, re.MULTILINE))
    assert len(wanted) > 20
    assert set() == wanted - there


def test_the_rules_are_yaml_with_one_rule_for_each_alert() -> None:
    (group,) = yaml.safe_load(rules_file())["groups"]
    assert [kind.name for kind in ALERTS] == [rule["labels"]["weighbridge_alert"] for rule in group["rules"]]
    for kind, rule in zip(ALERTS, group["rules"], strict=True):
        assert kind.severity == rule["labels"]["severity"]
        assert kind.runbook == rule["annotations"]["runbook"]
        used = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
        kept = set(re.findall(r"\w+", " ".join(re.findall(r"by \(([^)]*)\)", rule["expr"]))))
        assert used <= (kept or {"instance"}), kind.name


def test_the_board_has_panels_that_do_not_overlap_and_fit_its_width() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in json.loads(board())["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells


SCENES = """
rule_files: [alerts.yml]
evaluation_interval: 15s
tests:
  - interval: 15s
    input_series:
      - series: 'weighbridge_build_info{instance="a"}'
        values: '1x80'
      - series: 'weighbridge_requests_total{instance="a",route="r",arm="x",purpose="user",outcome="ok"}'
        values: '100x80'
      - series: 'weighbridge_requests_total{instance="a",route="r",arm="x",purpose="user",outcome="upstream_error"}'
        values: '_x8 7x80'
      - series: 'weighbridge_requests_total{instance="a",route="r",arm="y",purpose="trial",outcome="upstream_error"}'
        values: '0+50x80'
      - series: 'weighbridge_log_state{instance="a",state="full"}'
        values: '0x8 1x8 0x80'
      - series: 'weighbridge_store_free_bytes{instance="a"}'
        values: '6e9x8 1e9x80'
      - series: 'weighbridge_alerts_total{instance="a",alert="ramp-rolled-back"}'
        values: '0x8 1x400'
    alert_rule_test:
      - {eval_time: 1m, alertname: WeighbridgeUpstreamDown, exp_alerts: []}
      - eval_time: 2m30s
        alertname: WeighbridgeUpstreamDown
        exp_alerts:
          - exp_labels:
              {severity: page, weighbridge_alert: upstream-down, instance: a, route: r, arm: x}
            exp_annotations: ANNOTATIONS
      - {eval_time: 5m, alertname: WeighbridgeUpstreamDown, exp_alerts: []}
      - {eval_time: 1m, alertname: WeighbridgeDiskFull, exp_alerts: []}
      - eval_time: 3m
        alertname: WeighbridgeDiskFull
        exp_alerts:
          - exp_labels: {severity: page, weighbridge_alert: disk-full, instance: a}
            exp_annotations: ANNOTATIONS
      - {eval_time: 6m, alertname: WeighbridgeDiskFull, exp_alerts: []}
      - {eval_time: 2m30s, alertname: WeighbridgeDiskLow, exp_alerts: []}
      - eval_time: 4m
        alertname: WeighbridgeDiskLow
        exp_alerts:
          - exp_labels: {severity: ticket, weighbridge_alert: disk-low, instance: a}
            exp_annotations: ANNOTATIONS
      - {eval_time: 1m, alertname: WeighbridgeRampRolledBack, exp_alerts: []}
      - eval_time: 10m
        alertname: WeighbridgeRampRolledBack
        exp_alerts:
          - exp_labels: {severity: page, weighbridge_alert: ramp-rolled-back, instance: a, alert: ramp-rolled-back}
            exp_annotations: ANNOTATIONS
      - {eval_time: 10m, alertname: WeighbridgeGatewayDown, exp_alerts: []}
      - eval_time: 30m
        alertname: WeighbridgeGatewayDown
        exp_alerts:
          - exp_labels: {severity: page, weighbridge_alert: gateway-down}
            exp_annotations: ANNOTATIONS
"""


@pytest.mark.long
@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (Debian: prometheus)")
def test_prometheus_itself_raises_the_rules_in_time_and_no_others(tmp_path: Path) -> None:
    rules = yaml.safe_load(rules_file())
    for rule in rules["groups"][0]["rules"]:
        del rule["annotations"]  # what they say is looked at elsewhere; here it is when
    (tmp_path / "alerts.yml").write_text(yaml.safe_dump(rules))
    (tmp_path / "scenes.yml").write_text(SCENES.replace("ANNOTATIONS", "{}"))
    ran = subprocess.run(
        ["promtool", "test", "rules", "scenes.yml"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert 0 == ran.returncode, ran.stdout + ran.stderr
    (tmp_path / "alerts.yml").write_text(rules_file())
    ran = subprocess.run(
        ["promtool", "check", "rules", "alerts.yml"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert 0 == ran.returncode, ran.stdout + ran.stderr


def typed(text: str) -> Iterator[str]:
    """Commands of ours that a text tells people to type."""
    yield from re.findall(r"`(weighbridge [^`]*)`", " ".join(text.split()))
    for line in re.findall(r"^weighbridge .*$", text, re.MULTILINE):
        yield line.partition("#")[0]


def test_every_command_in_a_runbook_is_there_with_its_options() -> None:
    known = dict(commands(typer.main.get_command(root), "weighbridge"))
    texts = {kind.name: [*typed(runbook(kind.name)), *typed(f"`{kind.first_step}`")] for kind in ALERTS}
    assert 40 < sum(map(len, texts.values()))
    for name, lines in texts.items():
        for line in lines:
            words = shlex.split(line.partition(":")[0])
            found = [command for path, command in known.items() if words[: len(path.split())] == path.split()]
            if words == ["weighbridge", "--version"]:
                continue
            assert found, f"{name}: {line!r} is no command"
            options = {option for parameter in found[-1].params for option in parameter.opts} | {"--help"}
            assert {word for word in words if word.startswith("--")} <= options, f"{name}: {line!r}"
