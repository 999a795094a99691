"""Writes `deploy/prometheus/alerts.yml` from the table of alerts (`weighbridge.records.alerts`).

The product looks at the same rules by itself; here they become expressions. `increase()` sees nothing where a counter
begins at more than 0 between two scrapes, so a series that was not there a window ago counts from 0. (A Prometheus that
is new therefore takes all that a gateway has counted for news, once.)
"""

import json
from collections.abc import Iterator

from weighbridge.records.alerts import ALERTS, AlertKind, Grew, Labels, Level, Rule, Said, Share, Silent

FILE = "deploy/prometheus/alerts.yml"
SAID_WITHIN = "1h"


def rules_file() -> str:
    """YAML. Strings are written as JSON, which YAML reads as they are."""
    lines = [
        "# Made by scripts/docs from src/weighbridge/records/alerts.py; edit there.",
        "groups:",
        "  - name: weighbridge",
        "    rules:",
    ]
    for kind in ALERTS:
        lines += _rule(kind)
    return "\n".join(lines) + "\n"


def _rule(kind: AlertKind) -> Iterator[str]:
    name = "Weighbridge" + "".join(part.capitalize() for part in kind.name.split("-"))
    yield f"      - alert: {name}"
    yield f"        expr: {json.dumps(expression(kind))}"
    wait = kind.rule.for_s if isinstance(kind.rule, Level | Silent) else 0
    if wait:
        yield f"        for: {wait}s"
    yield "        labels:"
    yield f"          severity: {kind.severity}"
    yield f"          weighbridge_alert: {kind.name}"
    yield "        annotations:"
    by = _by(kind.rule)
    case = "".join(f", {label} {{{{ $labels.{label} }}}}" for label in ("instance", *by) if _keeps(kind.rule))
    yield f"          summary: {json.dumps(kind.title + case)}"
    yield f"          description: {json.dumps(kind.meaning)}"
    yield f"          first_step: {json.dumps(kind.first_step)}"
    yield f"          runbook: {json.dumps(kind.runbook)}"


def expression(kind: AlertKind) -> str:
    """The PromQL of an alert's rule. Every gateway is looked at on its own."""
    rule = kind.rule
    match rule:
        case Level():
            series = f"{rule.metric}{_where(rule.where)}"
            if rule.above is not None:
                return f"max by ({_group(rule)}) ({series}) > {rule.above:g}"
            return f"min by ({_group(rule)}) ({series}) < {rule.below:.0f}"
        case Grew():
            return f"{_increase(rule.metric, rule.where, rule.within_s, _group(rule))} > {rule.more_than:g}"
        case Share():
            bad = _increase(rule.metric, rule.where, rule.within_s, _group(rule), (rule.label, rule.bad))
            whole = (*rule.bad, *rule.good)
            every = _increase(rule.metric, rule.where, rule.within_s, _group(rule), (rule.label, whole))
            return f"({bad} / {every}) > {rule.above:g} and {every} >= {rule.at_least}"
        case Said():
            grew = f'increase(weighbridge_alerts_total{{alert="{kind.name}"}}[{SAID_WITHIN}]) > 0'
            return f'{grew} or weighbridge_alerts_raised{{alert="{kind.name}"}} > 0' if rule.ends else grew
        case Silent():
            return f'absent({rule.metric}) or up{{job="weighbridge"}} == 0'


def _increase(
    metric: str, where: Labels, within_s: int, group: str, one_of: tuple[str, tuple[str, ...]] | None = None
) -> str:
    series = f"{metric}{_where(where, one_of)}"
    return f"sum by ({group}) (({series} unless {series} offset {within_s}s) or increase({series}[{within_s}s]))"


def _where(where: Labels, one_of: tuple[str, tuple[str, ...]] | None = None) -> str:
    parts = [f'{label}="{value}"' for label, value in where]
    if one_of is not None:
        parts.append(f'{one_of[0]}=~"{"|".join(one_of[1])}"')
    return f"{{{','.join(parts)}}}" if parts else ""


def _group(rule: Level | Grew | Share) -> str:
    return ", ".join(("instance", *rule.by))


def _by(rule: Rule) -> tuple[str, ...]:
    return rule.by if isinstance(rule, Level | Grew | Share) else ()


def _keeps(rule: Rule) -> bool:
    """Whether the expression still has the label `instance`."""
    return not isinstance(rule, Silent)
