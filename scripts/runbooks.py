"""Makes docs/runbooks: one page for each alert, and their index, from the table of alerts and the texts in the package.

The texts are shipped, so that `weighbridge alerts NAME` prints them on a machine that has no documentation.
"""

from collections.abc import Iterator

from scripts.alert_rules import expression
from weighbridge.records.alerts import ALERTS, AlertKind, Said, Silent
from weighbridge.store.alerts import runbook

MADE = "<!-- Made by scripts/docs from {source}; edit there. -->"
TABLE = "src/weighbridge/records/alerts.py"
INTRODUCTION = (
    "`serve` and its keeper look by themselves and tell the webhook and the mail addresses of `[alerts]`, the log,",
    "and `weighbridge alerts`; `weighbridge alerts NAME` prints a runbook on the gateway's machine. Prometheus gets",
    "the same rules in [deploy/prometheus/alerts.yml](../../deploy/prometheus/alerts.yml). **page**: users feel it or",
    "money is lost, now. **ticket**: today.",
)


def runbook_pages() -> dict[str, str]:
    """File name -> page."""
    return {"README.md": "\n".join(_index()), **{f"{kind.name}.md": "\n".join(_page(kind)) for kind in ALERTS}}


def _index() -> Iterator[str]:
    yield MADE.format(source=TABLE)
    yield "# Alerts and runbooks"
    yield ""
    yield from INTRODUCTION
    yield ""
    yield "| alert | | what is so |"
    yield "|---|---|---|"
    for kind in ALERTS:
        yield f"| [{kind.name}]({kind.name}.md) | {kind.severity} | {kind.title} |"


def _page(kind: AlertKind) -> Iterator[str]:
    yield MADE.format(source=f"{TABLE} and src/weighbridge/store/runbooks/{kind.name}.md")
    yield f"# {kind.name}"
    yield ""
    yield f"**{kind.title}** ({kind.severity}). {kind.meaning}"
    yield ""
    yield f"First: {kind.first_step}."
    yield ""
    yield runbook(kind.name).rstrip("\n")
    yield ""
    yield "## Who raises it"
    yield ""
    yield _who(kind)
    yield ""
    yield "```text"
    yield expression(kind)
    yield "```"


def _who(kind: AlertKind) -> str:
    match kind.rule:
        case Said():
            return "The keeper, when it happens. Prometheus, for an hour, by the count of it:"
        case Silent():
            return "Prometheus alone, since the product cannot say that it is gone:"
        case _:
            return "`serve`, which looks at its own metrics every two seconds; and Prometheus, by:"
