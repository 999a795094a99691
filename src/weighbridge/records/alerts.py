"""Every alert there is: what it means, how bad it is, when it is raised, and what to do first.

One table, from which come the messages of the product itself, `weighbridge alerts`, the rules for Prometheus, the
dashboard's list and the index of the runbooks. A rule that looks at metrics is one value here, looked at in two
places: by `serve` every two seconds (`app.watch`), and by Prometheus, which gets it as an expression
(`scripts/alert_rules.py`).
"""

from typing import Final, Literal

import msgspec

Severity = Literal["page", "ticket"]
"""`page`: users feel it or money is lost, now. `ticket`: today."""

Labels = tuple[tuple[str, str], ...]

FREE_BYTES_LOW: Final = 5 << 30
"""Below this, somebody should look at the disk; `doctor` warns at the same figure."""


class Level(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A gauge has been above (or below) a bound for `for_s` seconds."""

    metric: str
    above: float | None = None
    below: float | None = None
    where: Labels = ()
    by: tuple[str, ...] = ()
    """Labels that tell one case from another: each combination is raised on its own."""
    for_s: int = 0


class Grew(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A counter grew by more than `more_than` within `within_s` seconds."""

    metric: str
    within_s: int
    more_than: float = 0
    where: Labels = ()
    by: tuple[str, ...] = ()


class Share(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Of what a counter grew by within `within_s`, the part whose `label` is one of `bad` was more than `above`.

    The whole is what has one of `bad` or `good`. With fewer than `at_least` in the whole nothing is said.
    """

    metric: str
    label: str
    bad: tuple[str, ...]
    good: tuple[str, ...]
    above: float
    at_least: int
    within_s: int
    where: Labels = ()
    by: tuple[str, ...] = ()


class Said(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """No metric: the keeper says it when it does it or finds it. Prometheus sees it counted."""

    ends: bool = False
    """It also says when it is over; what has happened, such as a rollback, has no end."""


class Silent(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Nothing answers any more, so only somebody outside can say it: Prometheus, by a metric that is gone."""

    metric: str
    for_s: int


Rule = Level | Grew | Share | Said | Silent


class AlertKind(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of alert. `name` is also the name of its runbook."""

    name: str
    severity: Severity
    title: str
    """One line, as it stands at the top of a message."""
    meaning: str
    """What is so, and what users or the books feel of it."""
    first_step: str
    """The first thing to type or to look at."""
    rule: Rule

    @property
    def runbook(self) -> str:
        """The page in the documentation."""
        return f"docs/runbooks/{self.name}.md"


_FAILED = ("upstream_error", "upstream_cut", "timeout")
_USERS: Labels = (("purpose", "user"),)

ALERTS: Final[tuple[AlertKind, ...]] = (
    AlertKind(
        name="gateway-down", severity="page", title="The gateway does not answer",
        meaning="Nothing answers on the admin address: the process, its machine or the network between is gone. "
        "Applications most likely get no answer either.",
        first_step="systemctl status weighbridge (or kubectl get pods), and its last log lines",
        rule=Silent(metric="weighbridge_build_info", for_s=60),
    ),
    AlertKind(
        name="workers-missing", severity="page", title="Fewer gateway workers than configured are serving",
        meaning="At least one worker does not come back. The others serve; with none left, connections are refused.",
        first_step="the log lines of `serve` that begin with `worker`: each says how it ended",
        rule=Level(metric="weighbridge_workers_missing", above=0, for_s=30),
    ),
    AlertKind(
        name="worker-restarting", severity="ticket", title="Gateway workers end and are started again",
        meaning="A worker ended unasked more than three times in ten minutes. What it was answering broke off; its "
        "requests are in the log and are booked at their upper bound.",
        first_step="the log lines of `serve` that begin with `worker`: each names a signal or an exit code",
        rule=Grew(metric="weighbridge_worker_restarts_total", more_than=3, within_s=600),
    ),
    AlertKind(
        name="keeper-down", severity="page", title="The keeper does not come back",
        meaning="Requests are still answered. Nothing is sealed, no ramp moves or goes back, and hard budgets refuse "
        "(or let through, as on_ledger_loss says) when the amounts in hand are used up.",
        first_step="weighbridge doctor",
        rule=Level(metric="weighbridge_keeper_up", below=1, for_s=60),
    ),
    AlertKind(
        name="upstream-down", severity="page", title="More than half of an arm's requests fail at its endpoint",
        meaning="Within a minute, more than half of the users' requests to this arm got an error of the provider, no "
        "connection, a broken answer or no answer in time. Where the route has fallbacks, they are asked first.",
        first_step="weighbridge exchanges list --outcome upstream_error --limit 5 says what was wrong; weighbridge "
        "doctor asks every endpoint now",
        rule=Share(
            metric="weighbridge_requests_total", label="outcome", bad=_FAILED, good=("ok",), above=0.5, at_least=5,
            within_s=60, where=_USERS, by=("route", "arm"),
        ),
    ),
    AlertKind(
        name="upstream-errors", severity="ticket", title="More than 5 % of an arm's requests fail at its endpoint",
        meaning="Over ten minutes, more than one in twenty of the users' requests to this arm failed at the endpoint.",
        first_step="weighbridge exchanges list --limit 20: the outcome of each, and the provider's status",
        rule=Share(
            metric="weighbridge_requests_total", label="outcome", bad=_FAILED, good=("ok",), above=0.05, at_least=20,
            within_s=600, where=_USERS, by=("route", "arm"),
        ),
    ),
    AlertKind(
        name="endpoint-out", severity="ticket", title="An endpoint gets no requests: it failed too often",
        meaning="Its fallbacks answer in its place, perhaps at another price. It is probed with single requests and "
        "comes back by itself.",
        first_step="weighbridge doctor: it asks every endpoint and says what each answers",
        rule=Level(metric="weighbridge_endpoint_out", above=0, by=("endpoint",), for_s=60),
    ),
    AlertKind(
        name="endpoint-busy", severity="ticket", title="Requests are turned away because an endpoint is full",
        meaning="All places at this endpoint (endpoint.concurrency_max) were taken and its queue was full or too slow, "
        "so requests went to a fallback or were answered 503 endpoint_busy.",
        first_step="raise endpoint.concurrency_max if the provider allows it, else give the route a fallback",
        rule=Grew(metric="weighbridge_queue_refused_total", within_s=300, by=("endpoint",)),
    ),
    AlertKind(
        name="budget-nearly-spent", severity="ticket", title="A budget has reached half or four fifths of its cap",
        meaning="Told once at 50 % and once at 80 % of a window. Nothing is refused yet.",
        first_step="weighbridge budget forecast: the day on which the money ends",
        rule=Said(),
    ),
    AlertKind(
        name="budget-spent", severity="page", title="A budget is spent",
        meaning="A hard budget refuses with 429 budget_exceeded until its window starts anew; another one only counts.",
        first_step="weighbridge budget status",
        rule=Said(),
    ),
    AlertKind(
        name="budget-refuses", severity="page", title="Requests are refused because a budget does not cover them",
        meaning="More than three within five minutes got 429 budget_exceeded: what is left of a hard budget, or of a "
        "user's own part of it, is less than what a request may cost. That comes before 100 % are spent.",
        first_step="weighbridge budget status: which budget has little or nothing left",
        rule=Grew(
            metric="weighbridge_refusals_total", more_than=3, within_s=300, where=(("code", "budget_exceeded"),)
        ),
    ),
    AlertKind(
        name="budget-ledger-lost", severity="page", title="Hard budgets refuse: their ledger cannot be reached",
        meaning="The amounts that workers had in hand are used up and no new ones can be had from the database, so "
        "requests under budgets with on_ledger_loss = \"closed\" get 503 ledger_unavailable.",
        first_step="weighbridge budget status: it names the ledger and what is wrong with it",
        rule=Grew(metric="weighbridge_refusals_total", within_s=60, where=(("code", "ledger_unavailable"),)),
    ),
    AlertKind(
        name="disk-full", severity="page", title="The exchange log cannot be written: requests are refused",
        meaning="No request is let in that cannot be recorded, so every one gets 503 exchange_log_full. It ends by "
        "itself when there is room again.",
        first_step="df -h on the folder of the store, then free space there",
        rule=Level(metric="weighbridge_log_state", where=(("state", "full"),), above=0),
    ),
    AlertKind(
        name="bodies-not-kept", severity="ticket", title="Prompts and answers are not captured any more",
        meaning="Requests are answered, counted and logged, but their bodies cannot be written, so trials will lack "
        "them. Mostly the disk is nearly full; then disk-full is next.",
        first_step="df -h on the folder of the store; the log line `exchange log: no_bodies` says why",
        rule=Level(metric="weighbridge_log_state", where=(("state", "no_bodies"),), above=0, for_s=30),
    ),
    AlertKind(
        name="disk-low", severity="ticket", title="Less than 5 GiB are free for the store",
        meaning="Nothing is lost yet. Bodies stop first, then requests are refused.",
        first_step="df -h on the folder of the store; shorten capture.keep_days or give it more room",
        rule=Level(metric="weighbridge_store_free_bytes", below=FREE_BYTES_LOW, for_s=60),
    ),
    AlertKind(
        name="price-unknown", severity="ticket", title="Requests are answered whose cost is unknown",
        meaning="Their arm has no price at this moment, or the provider stated no usage. Their cost is missing in "
        "statements and savings (it is not 0), and a hard budget refuses such an arm.",
        first_step="weighbridge doctor: the lines `price ARM` say which has none, and why",
        rule=Grew(
            metric="weighbridge_cost_unknown_total", within_s=600, where=(("outcome", "ok"), *_USERS),
            by=("route", "arm"),
        ),
    ),
    AlertKind(
        name="price-missing", severity="page", title="Requests are refused because their cost cannot be known",
        meaning="A hard budget lets nothing through that may cost any amount: the arm has no price at this moment, or "
        "a request holds images, audio or files that nothing bounds. They get 403 budget_cost_unknown.",
        first_step="weighbridge doctor: the lines `price ARM` say which has none, and why",
        rule=Grew(metric="weighbridge_refusals_total", within_s=60, where=(("code", "budget_cost_unknown"),)),
    ),
    AlertKind(
        name="price-implausible", severity="ticket", title="A price can hardly be meant",
        meaning="A price in force is below 0.001 or above 1,000 USD per million tokens and not 0: most likely it was "
        "written per token or per thousand. Costs, budgets and savings are wrong by that factor while it stands.",
        first_step="weighbridge doctor: the line `price ARM` names the amount; mend it and weighbridge reload",
        rule=Said(ends=True),
    ),
    AlertKind(
        name="ramp-rolled-back", severity="page", title="A ramp took its users back to the incumbent",
        meaning="A guardrail or the judged quality found the candidate worse, or its licence, data terms or arm "
        "changed. All users of the route are on the incumbent already; the cost goes back to what it was.",
        first_step="weighbridge ramp history ROUTE: each step with its reasons",
        rule=Said(),
    ),
    AlertKind(
        name="ramp-paused", severity="ticket", title="A ramp waits for a person",
        meaning="The share stays where it is until somebody resumes the ramp or rolls it back.",
        first_step="weighbridge ramp status ROUTE: why it waits",
        rule=Said(),
    ),
    AlertKind(
        name="ramp-drill", severity="ticket", title="A drill begins, or is over",
        meaning="For a short announced time a share of a route's users is answered by its fallback. It ends by itself; "
        "what the fallback cannot answer, the usual arms do.",
        first_step="weighbridge ramp drill ROUTE --show: what was asked for, and what it showed",
        rule=Said(),
    ),
    AlertKind(
        name="trial-proposed", severity="ticket", title="Something has changed that a trial could answer",
        meaning="A model came out, a price changed or will, or the incumbent is to be withdrawn. Nothing was started "
        "and nothing is spent.",
        first_step="weighbridge ramp proposals: each with its reason and what its trial would take",
        rule=Said(),
    ),
    AlertKind(
        name="keys-refused", severity="ticket", title="Many requests come with a key that is not known",
        meaning="More than 100 within five minutes: an application with a revoked or expired key, or somebody trying.",
        first_step="weighbridge key list: what was revoked or ended lately",
        rule=Grew(
            metric="weighbridge_refusals_total", more_than=100, within_s=300, where=(("code", "invalid_api_key"),)
        ),
    ),
    AlertKind(
        name="log-mistrusted", severity="page", title="The exchange log is not what was last signed",
        meaning="At the start the keeper found another log head, or another signing key, than its database remembers: "
        "the store was put back to an older state, or changed.",
        first_step="weighbridge verify",
        rule=Said(),
    ),
    AlertKind(
        name="alert-undelivered", severity="ticket", title="An alert did not reach the webhook or the mail server",
        meaning="After three tries. What it said is in the log and in `weighbridge alerts`.",
        first_step="weighbridge alerts: what was not delivered; then test the webhook from the gateway's machine",
        rule=Said(),
    ),
)  # fmt: skip

BY_NAME: Final = {kind.name: kind for kind in ALERTS}
