"""The page of dialects, from the tables that decide: `wire.carried`, `wire.hosts`, `gateway.doors`; how answers end is
from the table that the contract tests check."""

from collections.abc import Sequence
from itertools import permutations

from tests.contracts import endings
from weighbridge.gateway.doors import DOORS, OTHER, Door
from weighbridge.gateway.passed import PASSED_METHODS
from weighbridge.wire.carried import FEATURES, HEADER, STOPS, Feature
from weighbridge.wire.conversation import Dialect
from weighbridge.wire.dialects import DIALECTS
from weighbridge.wire.hosts import HOSTS

NAMES: dict[Dialect, str] = {"openai": "chat", "anthropic": "messages", "openai-responses": "responses"}
PAIRS = tuple(permutations(DIALECTS, 2))

INTRO = """# Dialects: what is carried, changed, refused

Clients call any of the paths below; an endpoint speaks what its `dialect` names (`azure`, `bedrock`, `vertex`: what its
`speaks` names, chat without it; [each provider's form](../providers.md)).
**Same dialect on both sides: the provider's bytes**, with declared edits only. **Another one: translated.** What the
other dialect has no place for is refused with a 400 that names the field, or named: in the response header `{header}`
(as `FEATURE@PLACE`) and in the attempt's `edits` (as `lost:FEATURE`). Nothing is dropped silently.
"""


def outcome(feature: Feature, client: Dialect, upstream: Dialect) -> str:
    """What becomes of a feature that a client of one dialect uses, at an endpoint of another."""
    here, there = feature.in_dialect(client), feature.in_dialect(upstream)
    # Where no dialect has a place for it, every client may still send it; any dialect's reasoning may be another's.
    everywhere = {feature.openai, feature.anthropic, feature.responses} == {"no"} or feature.name == "foreign_reasoning"
    if here == "no" and not everywhere:
        return ""  # the client's dialect has no word for it
    if there == "yes":
        return "yes"
    if there.startswith("partly: "):
        return there.removeprefix("partly: ") + " (named)"
    return "**refused**" if feature.end == "refuse" else "named"


def page() -> str:
    parts = [INTRO.format(header=HEADER), _paths(), _features(), _stops(), _endings(), _hosts()]
    return "\n".join(parts)


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)]) + "\n"


def _arms(door: Door) -> str:
    return "by the shares" if door.moves else "the incumbent, always"


def _paths() -> str:
    rows = []
    for door in DOORS.values():
        kind = "any, translated" if door.translates else f"{NAMES[door.dialect]} only"
        metered = "free" if door.free else "usage"
        rows.append((f"`POST {door.path.decode()}`", NAMES[door.dialect], kind, _arms(door), metered))
    methods = ", ".join(sorted(method.decode() for method in PASSED_METHODS))
    rows.append(("anything else under `/v1/`", "not read", "passed through", _arms(OTHER), "unpriced"))
    table = _table(("path", "errors as in", "endpoint", "arm", "metered"), rows)
    return (
        f"## Paths\n\n{table}\n"
        "Embeddings never move to another arm and are no matter for trials: vectors of two models do not compare, so\n"
        f"an index that holds both is corrupted. What passes through ({methods}) goes to the incumbent\n"
        "of the route that the header `x-weighbridge-route` names, else of the only route that the key may use; with\n"
        "several and no header it is refused. Keys come as `Authorization: Bearer`, `x-api-key` or `api-key` on every "
        "path.\n"
        "`anthropic-version` and `anthropic-beta` go along where the endpoint speaks that dialect, on other paths "
        "`openai-beta` too.\n"
        "A body over a mebibyte that passes through goes on while it comes in.\n\n"
        "Where a ramp moved a conversation to an arm whose endpoint has no place for a request, the incumbent answers\n"
        "it: the header `x-weighbridge-fallback: yes` says so. A trial counts it as the candidate's no.\n"
    )


def _features() -> str:
    head = ("", *(f"{NAMES[client]} → {NAMES[upstream]}" for client, upstream in PAIRS))
    rows = [
        (f"{feature.what} `{feature.name}`", *(outcome(feature, client, upstream) for client, upstream in PAIRS))
        for feature in FEATURES
    ]
    return (
        "## What of a request and an answer goes across\n\n`yes`: as it is. *named*: left out, and said so. Empty: the "
        f"client's dialect has no word for it.\n\n{_table(head, rows)}"
    )


def _stops() -> str:
    rows = []
    for stop in STOPS:
        status, reason = stop.responses
        rows.append((f"`{stop.openai}`", f"`{stop.anthropic}`", f"`{status}`" + (f", `{reason}`" if reason else "")))
    return f"## Why an answer stopped\n\n{_table(('chat', 'messages', 'responses'), rows)}"


def _endings() -> str:
    """What the contract tests check, from their own table."""
    rows = [(what, json, stream, f"`{outcome}`", booked) for what, json, stream, outcome, booked in endings.rows()]
    head = ("the endpoint", "a client gets (JSON)", "a client gets (stream)", "outcome in the log", "booked")
    return (
        "## How an answer ends\n\nEach row holds for each of the three dialects of clients at each of the three of "
        "endpoints, JSON and streams:\n`tests/contracts` checks all of them with official clients through real "
        f"processes (`scripts/test --long tests/contracts`).\n\n{_table(head, rows)}"
    )


def _hosts() -> str:
    rows = []
    for name, host in HOSTS.items():
        said = [
            f"`{field}` = `{value}`"
            for field in host.__struct_fields__
            if field != "source" and (value := getattr(host, field)) not in (None, False, "max_tokens")
        ]
        rows.append((f"`{name}`", "; ".join(said), f"<{host.source}>"))
    return (
        "## Hosts of the chat dialect\n\nHow a *translated* request is written for an endpoint whose `provider` is one "
        f"of these; any other gets the plain dialect.\n\n{_table(('provider', 'what it takes or wants', 'see'), rows)}"
    )
