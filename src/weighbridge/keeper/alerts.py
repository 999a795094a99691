"""Telling people: a webhook, e-mail, the list of alerts in the store, and always the log. Nothing waits for it."""

import asyncio
import logging
import smtplib
import time
from collections.abc import Awaitable, Callable
from email.message import EmailMessage
from urllib.parse import urlsplit

import msgspec

from weighbridge.config import Loaded, secret
from weighbridge.config.tree import AlertsSection
from weighbridge.records.alerts import BY_NAME, Severity
from weighbridge.store.alerts import AlertEvent, State, append_alert
from weighbridge.store.layout import Layout

log = logging.getLogger("keeper")

SEND_S_MAX = 20.0
TRIES = 3


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """What a webhook gets, as JSON. `text` alone is what chat systems show."""

    text: str
    alert: str
    """Its name in the table of alerts, e.g. `upstream-down`."""
    severity: Severity
    state: State
    subject: str
    lines: tuple[str, ...]
    first_step: str
    runbook: str
    """Its page; `weighbridge alerts NAME` prints it on the gateway's machine."""
    labels: dict[str, str] = {}
    """What tells this case from others of its kind."""
    route: str = ""
    candidate: str = ""
    stage: str = ""
    budget: str = ""
    percent: int | None = None
    """Of the budget that is spent: 50, 80 or 100."""


class Alerts:
    """Whoever raises alerts has one of these: the keeper, and `serve` for the time that there is no keeper."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._sending: set[asyncio.Task[None]] = set()

    def send(
        self,
        loaded: Loaded,
        name: str,
        subject: str,
        lines: tuple[str, ...],
        *,
        state: State = "raised",
        labels: dict[str, str] | None = None,
        route: str = "",
        candidate: str = "",
        stage: str = "",
        budget: str = "",
        percent: int | None = None,
    ) -> None:
        """`name` is one of `records.alerts.ALERTS`; `labels` are those of its case."""
        kind = BY_NAME[name]
        known = {"route": route, "candidate": candidate, "budget": budget}
        if labels is None:
            labels = {label: value for label, value in known.items() if value}
        text = [subject, *lines]
        if state == "raised":
            text += [f"first: {kind.first_step}", f"runbook: weighbridge alerts {name} ({_page(loaded, kind.runbook)})"]
        alert = Alert(
            text="\n".join(text), alert=name, severity=kind.severity, state=state, subject=subject, lines=lines,
            first_step=kind.first_step, runbook=_page(loaded, kind.runbook), labels=labels, route=route,
            candidate=candidate, stage=stage, budget=budget, percent=percent,
        )  # fmt: skip
        log.warning("alert %s (%s) %s: %s", name, kind.severity, state, alert.text)
        self._note(AlertEvent(
            time_ns=time.time_ns(), alert=name, state=state, subject=subject, lines=lines, labels=labels
        ))  # fmt: skip
        task = asyncio.get_running_loop().create_task(self._send(loaded, alert))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    def _note(self, event: AlertEvent) -> None:
        try:
            append_alert(self._layout, event)
        except OSError as error:
            log.error("alert %s stands in this log only: %s", event.alert, error)

    async def _send(self, loaded: Loaded, alert: Alert) -> None:
        config = loaded.config.alerts
        troubles: list[str] = []
        if config.webhook is not None:
            troubles += await _tried("the webhook", lambda: _post(loaded, config, alert))
        if config.email_to:
            troubles += await _tried("the mail server", lambda: asyncio.to_thread(_mail, config, alert))
        if troubles:
            self._note(AlertEvent(
                time_ns=time.time_ns(), alert="alert-undelivered", state="raised",
                subject=f"not delivered: {alert.subject}", lines=tuple(troubles), labels={"of": alert.alert},
            ))  # fmt: skip


def _page(loaded: Loaded, runbook: str) -> str:
    base = loaded.config.alerts.runbooks
    return runbook if base is None else f"{base.rstrip('/')}/{runbook.rpartition('/')[2].removesuffix('.md')}.html"


async def _tried(what: str, send: Callable[[], Awaitable[None]]) -> tuple[str, ...]:
    """Nothing where it arrived, else what went wrong the last time."""
    trouble = ""
    for attempt in range(1, TRIES + 1):
        try:
            async with asyncio.timeout(SEND_S_MAX):
                await send()
        except Exception as error:  # noqa: BLE001 (the edge: whatever a webhook or mail server does must not touch the ramp)
            trouble = str(error) or type(error).__name__
            log.error("an alert did not reach %s (try %d of %d): %s", what, attempt, TRIES, trouble)
            await asyncio.sleep(attempt)
        else:
            return ()
    return (f"{what}: {trouble}",)


async def _post(loaded: Loaded, config: AlertsSection, alert: Alert) -> None:
    text = config.webhook or ""
    url = secret(text, loaded.folder) if text.startswith(("env:", "file:")) else text
    parts = urlsplit(url)
    from weighbridge.upstream import Client  # here: a keeper without alerts starts without an HTTP client

    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    async with Client(f"{parts.scheme}://{parts.netloc}", address_is_own=True) as client:
        reply = await client.post(
            path, ((b"content-type", b"application/json"),), msgspec.json.encode(alert), SEND_S_MAX
        )
    if not 200 <= reply.status < 300:
        raise ValueError(f"it answered {reply.status}")


def _mail(config: AlertsSection, alert: Alert) -> None:
    host, _, port = config.smtp.rpartition(":")
    message = EmailMessage()
    message["Subject"], message["From"], message["To"] = alert.subject, config.email_from, ", ".join(config.email_to)
    message.set_content(alert.text)
    with smtplib.SMTP(host, int(port), timeout=SEND_S_MAX) as server:
        server.send_message(message)
