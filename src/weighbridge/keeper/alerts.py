"""Telling people: a webhook, e-mail, and always the log. Nothing waits for it."""

import asyncio
import logging
import smtplib
from collections.abc import Awaitable, Callable
from email.message import EmailMessage
from urllib.parse import urlsplit

import msgspec

from weighbridge.config import Loaded, secret
from weighbridge.config.tree import AlertsSection

log = logging.getLogger("keeper")

SEND_S_MAX = 20.0
TRIES = 3


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """What a webhook gets, as JSON. `text` alone is what chat systems show."""

    text: str
    subject: str
    lines: tuple[str, ...]
    route: str = ""
    candidate: str = ""
    stage: str = ""
    budget: str = ""
    percent: int | None = None
    """Of the budget that is spent: 50, 80 or 100."""


class Alerts:
    def __init__(self) -> None:
        self._sending: set[asyncio.Task[None]] = set()

    def send(
        self,
        loaded: Loaded,
        subject: str,
        lines: tuple[str, ...],
        *,
        route: str = "",
        candidate: str = "",
        stage: str = "",
        budget: str = "",
        percent: int | None = None,
    ) -> None:
        alert = Alert(
            text="\n".join((subject, *lines)), subject=subject, lines=lines, route=route, candidate=candidate,
            stage=stage, budget=budget, percent=percent,
        )  # fmt: skip
        log.warning("%s", alert.text)
        task = asyncio.get_running_loop().create_task(_send(loaded, alert))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)


async def _send(loaded: Loaded, alert: Alert) -> None:
    config = loaded.config.alerts
    if config.webhook is not None:
        await _tried("the webhook", lambda: _post(loaded, config, alert))
    if config.email_to:
        await _tried("the mail server", lambda: asyncio.to_thread(_mail, config, alert))


async def _tried(what: str, send: Callable[[], Awaitable[None]]) -> None:
    for attempt in range(1, TRIES + 1):
        try:
            async with asyncio.timeout(SEND_S_MAX):
                await send()
            return
        except Exception as error:  # noqa: BLE001 (the edge: whatever a webhook or mail server does must not touch the ramp)
            log.error(
                "an alert did not reach %s (try %d of %d): %s", what, attempt, TRIES, str(error) or type(error).__name__
            )
            await asyncio.sleep(attempt)


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
