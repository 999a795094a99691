"""Do the tables about ramps, approvers and alerts make sense?"""

import math
from urllib.parse import urlsplit

from weighbridge.config.secrets import check_secret_form
from weighbridge.config.tree import Config, RampSection
from weighbridge.errors import ConfigError
from weighbridge.records.ramp import GUARDRAILS
from weighbridge.records.usage import PRICE_USD_MAX, nanousd_per_million

BY_STAGE = ("shadow", "canary", "few", "quarter", "half", "all")
SERVING = BY_STAGE[1:]
HOLD_S_MAX = 365 * 86_400.0
COUNT_MAX = 10_000_000


def check_ramps(file: str, config: Config) -> None:
    seen: set[str] = set()
    routes = ("*", *(row.name for row in config.route))
    for index, row in enumerate(config.ramp):
        where = f"ramp[{index}]"
        if row.route not in routes:
            raise ConfigError(
                file, f"{where}.route", "names an unknown route", value=row.route, allowed=", ".join(routes)
            )
        if row.route in seen:
            raise ConfigError(file, f"{where}.route", "has another table already; keep one", value=row.route)
        seen.add(row.route)
        _check(file, where, row)
    names: set[str] = set()
    for approver in config.approver:
        check_secret_form(file, f"approver[{approver.name}].token", approver.token)
        if not approver.name.strip() or approver.name in names:
            raise ConfigError(file, "approver.name", "must be there, and different for each", value=approver.name)
        names.add(approver.name)
    _check_alerts(file, config)


def _check(file: str, where: str, row: RampSection) -> None:
    for name, values, low, high in (
        ("shares", row.shares, 0.01, 100.0), ("hold_s", row.hold_s, 0.0, HOLD_S_MAX),
        ("conversations_min", row.conversations_min, 0, COUNT_MAX), ("pairs_min", row.pairs_min, 0, COUNT_MAX),
    ):  # fmt: skip
        stages = SERVING if name == "shares" else BY_STAGE
        for stage, value in values.items():
            if stage not in stages:
                raise ConfigError(file, f"{where}.{name}", "names no stage", value=stage, allowed=", ".join(stages))
            _within(file, f"{where}.{name}.{stage}", value, low, high)
    shares = [shares_of(row)[stage] for stage in SERVING]
    if shares != sorted(shares) or shares[-1] != 100.0:
        raise ConfigError(file, f"{where}.shares", "must grow from stage to stage and end at 100", value=shares)
    for name in row.guardrails:
        if name not in GUARDRAILS:
            raise ConfigError(file, f"{where}.guardrails", "is not known", value=name, allowed=", ".join(GUARDRAILS))
    _within(file, f"{where}.alpha", row.alpha, 0.001, 0.49)
    _within(file, f"{where}.ratio", row.ratio, 1.0, 10.0)
    if row.margin is not None:
        _within(file, f"{where}.margin", row.margin, 0.0001, 0.9)
    for name in ("shadow_share", "pair_share"):
        _within(file, f"{where}.{name}", getattr(row, name), 0.0, 100.0)
    for name in ("events_planned", "slow_planned", "pairs_planned"):
        _within(file, f"{where}.{name}", getattr(row, name), 10, COUNT_MAX)
    _within(file, f"{where}.approvals", row.approvals, 1, 10)
    _within(file, f"{where}.verdict_days", row.verdict_days, 0.001, 3650.0)
    for name in ("candidate_per_minute", "incumbent_per_minute"):
        value = getattr(row, name)
        if value is not None:
            _within(file, f"{where}.{name}", value, 1, 1_000_000_000)
    if row.copies_usd is not None:
        try:
            nanousd_per_million(row.copies_usd)
        except ValueError:
            raise ConfigError(
                file, f"{where}.copies_usd", "is not an amount", value=row.copies_usd,
                allowed=f'US dollars as a string, at most {PRICE_USD_MAX}, e.g. "5.00"',
            ) from None  # fmt: skip


def shares_of(row: RampSection) -> dict[str, float]:
    """Percent by serving stage, defaults filled in."""
    return {"canary": 1.0, "few": 5.0, "quarter": 25.0, "half": 50.0, "all": 100.0} | row.shares


def _within(file: str, key: str, value: float, low: float, high: float) -> None:
    if not (math.isfinite(value) and low <= value <= high):
        raise ConfigError(file, key, "is out of range", value=value, allowed=f"{low:g} to {high:g}")


def _check_alerts(file: str, config: Config) -> None:
    alerts = config.alerts
    if alerts.webhook is not None and not alerts.webhook.startswith(("env:", "file:")):
        parts = urlsplit(alerts.webhook)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(
                file, "alerts.webhook", "is not a URL", value=alerts.webhook,
                allowed="http(s)://HOST/PATH, or env:NAME or file:PATH where one is kept",
            )  # fmt: skip
    for address in alerts.email_to:
        if "@" not in address or any(c.isspace() for c in address):
            raise ConfigError(
                file, "alerts.email_to", "is not an address", value=address, allowed="somebody@example.org"
            )
    host, _, port = alerts.smtp.rpartition(":")
    if not host or not port.isdigit():
        raise ConfigError(file, "alerts.smtp", "is not an address", value=alerts.smtp, allowed="HOST:PORT")
