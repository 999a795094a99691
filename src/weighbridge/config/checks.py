"""Does a well-formed configuration make sense? Names that exist, ranges, secrets as references."""

import difflib
from collections.abc import Iterable
from datetime import date
from decimal import Decimal, InvalidOperation
from urllib.parse import urlsplit
from zoneinfo import available_timezones

import msgspec

from weighbridge.config.loaded import Loaded
from weighbridge.config.price_checks import amounts_problem, check_prices
from weighbridge.config.ramps import check_ramps
from weighbridge.config.secrets import check_secret_form
from weighbridge.config.tree import (
    GRADER_KINDS,
    RETRY_WORDS,
    ROLES,
    SLICE_KEYS,
    AdminSection,
    ArmSection,
    CaptureSection,
    Config,
    EndpointSection,
    LimitsSection,
    RouteSection,
)
from weighbridge.config.vectors import check_vectors
from weighbridge.errors import ConfigError
from weighbridge.records.budget import TOKEN_BUDGET
from weighbridge.records.usage import nanousd_per_million

PER_MINUTE_MAX = 1_000_000_000
RETRIES_MAX = 10
RETRY_WAIT_S_MAX = 30
HEDGE_AFTER_S_MAX = 600
LIMIT_S_MAX = 86_400
LIMIT_BYTES_MAX = 1 << 30
LIMIT_CONNECTIONS_MAX = 1_000_000
DAYS_MAX = 36_500
TOKENS_MAX = 100_000_000
BUDGET_USD_MAX = 1_000_000_000
STAFF_HOURS_MAX = 1_000_000


OWN_KEYS: dict[str, tuple[str, ...]] = {
    "api_version": ("azure",), "token": ("azure", "vertex"), "credentials": ("vertex",), "signing_region": ("bedrock",),
}  # fmt: skip


def check(loaded: Loaded) -> None:
    file, config = loaded.file, loaded.config
    for row_kind in ("endpoint", "arm", "route", "team", "key", "budget", "commitment"):
        _unique(file, row_kind, [row.name for row in getattr(config, row_kind)])
    parse_address(file, "server.listen", config.server.listen)
    parse_address(file, "server.admin_listen", config.server.admin_listen)
    _check_admin(file, config.admin, tuple(row.name for row in config.team))
    if not 1 <= config.server.workers <= 256:
        raise ConfigError(file, "server.workers", "is out of range", value=config.server.workers, allowed="1 to 256")
    for key in ("tls_key", "tls_client_ca"):
        if getattr(config.server, key) is not None and config.server.tls_cert is None:
            raise ConfigError(file, f"server.{key}", "means nothing without server.tls_cert")
    if config.store.log is not None:
        raise ConfigError(
            file, "store.log", "this version keeps its log in local files only; remove the key and use store.path"
        )
    if config.store.url is not None:
        _check_store_url(file, config.store.url)
    _check_limits(file, config.limits)
    _check_capture(file, config.capture)
    if config.traces is not None:
        _check_base_url(file, "traces.otlp", config.traces.otlp)
        if config.traces.headers is not None:
            check_secret_form(file, "traces.headers", config.traces.headers)
    for endpoint in config.endpoint:
        _check_endpoint(file, endpoint, config.server.workers)
    _check_arms(loaded)
    check_prices(file, config)
    _check_routes(file, config)
    _check_graders(loaded)
    check_vectors(file, config)
    check_ramps(file, config)
    _check_keys(file, config)
    for name in config.organization.roles:
        _one_of(file, "organization.roles", name, ROLES)


def _check_store_url(file: str, url: str) -> None:
    if url.startswith(("postgresql://", "postgres://")):
        if urlsplit(url).password:
            raise ConfigError(
                file,
                "store.url",
                "holds a password (it is not shown here); keep the whole URL in a variable or a file",
                allowed="env:NAME or file:PATH, or postgresql://… without a password",
            )
    else:
        check_secret_form(file, "store.url", url)


def _check_limits(file: str, limits: LimitsSection) -> None:
    for name, limit in msgspec.structs.asdict(limits).items():
        # Written so that NaN is out of range too.
        if name.endswith("_s_max"):
            if not 0 < limit <= LIMIT_S_MAX:
                allowed = f"a number over 0, at most {LIMIT_S_MAX} (seconds: a day)"
                raise ConfigError(file, f"limits.{name}", "is out of range", value=limit, allowed=allowed)
        elif name.endswith("_bytes_max"):
            _ranged(file, f"limits.{name}", limit, 1, LIMIT_BYTES_MAX, " (bytes: 1 GiB)")
        else:
            _ranged(file, f"limits.{name}", limit, 1, LIMIT_CONNECTIONS_MAX)


def _seconds(file: str, key: str, value: float, largest: float = LIMIT_S_MAX) -> None:
    if not 0 < value <= largest:  # NaN too
        raise ConfigError(file, key, "is out of range", value=value, allowed=f"over 0, at most {largest:g} (seconds)")


def _ranged(file: str, key: str, value: int, low: int, high: int, what: str = "") -> None:
    if not low <= value <= high:
        raise ConfigError(file, key, "is out of range", value=value, allowed=f"{low} to {high}{what}")


def _unique(file: str, kind: str, names: list[str]) -> None:
    for name in names:
        # Names of teams are names of folders too: "." and ".." are not.
        if not name.strip(".") or not name.isprintable() or any(c in name for c in " /\\\"'"):
            raise ConfigError(
                file,
                f"{kind}.name",
                "is not a name",
                value=name,
                allowed="any visible characters but spaces, / \\ ' and \", e.g. qwen-72b or gpt_4o:eu",
            )
        if names.count(name) > 1:
            raise ConfigError(file, f"{kind}[{name}]", "is there twice; names must be different")


def _one_of(file: str, key: str, name: str, known: Iterable[str]) -> None:
    known = sorted(known)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ConfigError(
            file, key, f"names something unknown{hint}", value=name, allowed=", ".join(known) or "(none defined)"
        )


def parse_address(file: str, key: str, text: str) -> tuple[str, int]:
    """`127.0.0.1:8400` or `[::1]:8400` as (host, port). Port 0 lets the system choose."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise ConfigError(file, key, "is not an address", value=text, allowed="HOST:PORT, e.g. 127.0.0.1:8400")
    return host.strip("[]"), int(port)


def _check_admin(file: str, admin: AdminSection, teams: tuple[str, ...]) -> None:
    _ranged(file, "admin.idle_minutes", admin.idle_minutes, 1, 7 * 24 * 60, " (minutes: a week)")
    _ranged(file, "admin.session_hours", admin.session_hours, 1, 30 * 24, " (hours: 30 days)")
    if admin.url is not None:
        url = urlsplit(admin.url)
        if url.scheme not in ("https", "http") or not url.hostname or url.path not in ("", "/") or url.query:
            raise ConfigError(
                file,
                "admin.url",
                "is not the address of a site",
                value=admin.url,
                allowed="https://NAME or https://NAME:PORT",
            )
    if admin.oidc is not None:
        check_secret_form(file, "admin.oidc.client_secret", admin.oidc.client_secret)
        issuer = urlsplit(admin.oidc.issuer)
        loopback = issuer.scheme == "http" and issuer.hostname in ("localhost", "127.0.0.1", "::1")
        if not issuer.hostname or not (issuer.scheme == "https" or loopback) or issuer.query or issuer.fragment:
            raise ConfigError(
                file, "admin.oidc.issuer", "is not an issuer", value=admin.oidc.issuer,
                allowed="https://HOST/PATH, or http on loopback",
            )  # fmt: skip
        for group, team in admin.oidc.teams.items():
            if team not in teams:
                known = ", ".join(teams) or "none"
                raise ConfigError(file, f"admin.oidc.teams.{group}", "names no [[team]]", value=team, allowed=known)
    for name in admin.hosts:
        if not name or any(char in name for char in "/@ ") or not name.isascii():
            raise ConfigError(file, "admin.hosts", "is not a host", value=name, allowed="NAME or NAME:PORT")


def _check_capture(file: str, capture: CaptureSection) -> None:
    if not 0 <= capture.sample <= 1:
        raise ConfigError(file, "capture.sample", "is out of range", value=capture.sample, allowed="0.0 to 1.0")
    for name in capture.redact:
        if name != "secrets":
            raise ConfigError(
                file,
                "capture.redact",
                "names something that this version cannot redact",
                value=name,
                allowed='["secrets"], or [] to redact nothing',
            )
    for key in ("keep_days", "keep_rows_days"):
        _ranged(file, f"capture.{key}", getattr(capture, key), 1, DAYS_MAX, " (days: 100 years)")
    if capture.bodies:
        for key in ("purpose", "approved_by"):
            if not getattr(capture, key).strip():
                raise ConfigError(
                    file,
                    f"capture.{key}",
                    "must say something while capture.bodies = true: somebody decides that prompts are kept",
                )
    if capture.encrypt_key is not None:
        check_secret_form(file, "capture.encrypt_key", capture.encrypt_key)


def _check_endpoint(file: str, endpoint: EndpointSection, workers: int) -> None:
    where = f"endpoint[{endpoint.name}]"
    if endpoint.speaks != "openai" and endpoint.dialect not in ("azure", "bedrock", "vertex"):
        raise ConfigError(
            file, f"{where}.speaks", f"means nothing for dialect {endpoint.dialect!r}", value=endpoint.speaks,
            allowed="only with dialect azure, bedrock or vertex; else set dialect itself",
        )  # fmt: skip
    if endpoint.dialect == "vertex" and endpoint.speaks == "openai-responses":
        raise ConfigError(
            file, f"{where}.speaks", "is no API of Vertex", value=endpoint.speaks, allowed="openai, anthropic"
        )
    if endpoint.speaks != "openai" and endpoint.api_version is not None:
        raise ConfigError(
            file, f"{where}.api_version", f"has no {endpoint.speaks!r} API; leave it out for the undated one"
        )
    for key, dialects in OWN_KEYS.items():
        if getattr(endpoint, key) is not None and endpoint.dialect not in dialects:
            allowed = f"only with dialect {' or '.join(dialects)}"
            raise ConfigError(
                file, f"{where}.{key}", f"means nothing for dialect {endpoint.dialect!r}", allowed=allowed
            )
    if endpoint.dialect == "vertex" and endpoint.api_key is not None:
        raise ConfigError(file, f"{where}.api_key", "is not how Vertex lets in; use credentials or token, or neither")
    if endpoint.token is not None:
        check_secret_form(file, f"{where}.token", endpoint.token)
        if endpoint.api_key is not None or endpoint.credentials is not None:
            other = "api_key" if endpoint.api_key is not None else "credentials"
            raise ConfigError(file, f"{where}.token", f"stands beside {other}; give one of them")
    _check_base_url(file, f"{where}.base_url", endpoint.base_url)
    if endpoint.api_key is not None:
        check_secret_form(file, f"{where}.api_key", endpoint.api_key)
    _ranged(file, f"{where}.queue_max", endpoint.queue_max, 0, LIMIT_CONNECTIONS_MAX)
    _seconds(file, f"{where}.queue_s_max", endpoint.queue_s_max)
    if endpoint.concurrency_max is not None:
        allowed = " (each worker takes its part, at least one)"
        _ranged(file, f"{where}.concurrency_max", endpoint.concurrency_max, workers, LIMIT_CONNECTIONS_MAX, allowed)
    if endpoint.client_key is not None and endpoint.client_cert is None:
        raise ConfigError(file, f"{where}.client_key", "means nothing without client_cert")
    if endpoint.base_url.startswith("http://") and (endpoint.client_cert or endpoint.ca_file):
        key = "client_cert" if endpoint.client_cert else "ca_file"
        raise ConfigError(file, f"{where}.{key}", "means nothing without TLS; write https:// in base_url, or remove it")
    if endpoint.retention_days is not None:
        _ranged(file, f"{where}.retention_days", endpoint.retention_days, 0, DAYS_MAX, " (days: 100 years)")


_URL_ALLOWED = "http(s)://HOST[:PORT]/PATH, e.g. https://api.openai.com/v1"


def _check_base_url(file: str, key: str, url: str) -> None:
    # What stands before an @ or after a ? may be a password or a key. It is never shown, well formed or not.
    if "@" in url:
        raise ConfigError(
            file,
            key,
            "must not hold a user name or a password (it is not shown here); write the key of the provider as api_key",
            allowed=f'{_URL_ALLOWED}, beside api_key = "env:NAME" or "file:PATH"',
        )
    if "?" in url or "#" in url:
        raise ConfigError(file, key, "must not hold a ? or a # (it is not shown here)", allowed=_URL_ALLOWED)
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise ConfigError(file, key, f"is not a base URL: {error}", value=url, allowed=_URL_ALLOWED) from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(file, key, "is not a base URL", value=url, allowed=_URL_ALLOWED)


def _check_arms(loaded: Loaded) -> None:
    file, config = loaded.file, loaded.config
    endpoints = [row.name for row in config.endpoint]
    for arm in config.arm:
        where = f"arm[{arm.name}]"
        _one_of(file, f"{where}.endpoint", arm.endpoint, endpoints)
        _check_budget_name(file, config, f"{where}.budget", arm.budget)
        if arm.price is not None and (problem := amounts_problem(arm.price)) is not None:
            raise ConfigError(file, f"{where}.price.{problem[0]}", problem[1])
        _check_escalation(file, config, arm)
        if arm.retires_on is not None and not _is_day(arm.retires_on):
            raise ConfigError(file, f"{where}.retires_on", "is not a day", value=arm.retires_on, allowed='"YYYY-MM-DD"')
        if arm.system_prompt_file is not None and not loaded.path(arm.system_prompt_file).is_file():
            raise ConfigError(
                file, f"{where}.system_prompt_file", "is not a file", value=str(loaded.path(arm.system_prompt_file))
            )


def _is_day(text: str) -> bool:
    try:
        return len(text) == 10 and bool(date.fromisoformat(text))
    except ValueError:
        return False


def _check_escalation(file: str, config: Config, arm: ArmSection) -> None:
    row = arm.escalate
    if row is None:
        return
    where = f"arm[{arm.name}].escalate"
    plain = [one.name for one in config.arm if one.escalate is None]
    if row.to not in plain:
        raise ConfigError(
            file, f"{where}.to", "must be an arm that does not escalate itself", value=row.to, allowed=", ".join(plain)
        )
    if not row.on:
        raise ConfigError(file, f"{where}.on", "names nothing that would make it escalate")
    if ("check" in row.on) != bool(row.check) or (row.check == "label") != bool(row.labels):
        raise ConfigError(
            file, f"{where}.check", "does not fit `on` and `labels`", value=row.check or "none",
            allowed='on = [.., "check"] with check = "number", "json", or "label" with labels; else none of them',
        )  # fmt: skip
    if row.above_bytes is not None and row.above_bytes < 1:
        raise ConfigError(file, f"{where}.above_bytes", "is out of range", value=row.above_bytes, allowed="1 or more")


def _check_routes(file: str, config: Config) -> None:
    arms = [row.name for row in config.arm]
    names: dict[str, str] = {}
    for route in config.route:
        where = f"route[{route.name}]"
        for name in (route.name, *route.aliases):
            if name in names:
                raise ConfigError(file, f"{where}.aliases", f"{name!r} is already taken by route {names[name]!r}")
            names[name] = route.name
        _one_of(file, f"{where}.incumbent", route.incumbent, arms)
        for candidate in route.candidates:
            _one_of(file, f"{where}.candidates", candidate, arms)
            if candidate == route.incumbent:
                raise ConfigError(file, f"{where}.candidates", "holds the incumbent itself", value=candidate)
        for by in route.slice_by:
            if not (by.startswith("tag:") and by[4:]) and by not in SLICE_KEYS:
                raise ConfigError(
                    file, f"{where}.slice_by", "is not known", value=by, allowed=", ".join((*SLICE_KEYS, "tag:NAME"))
                )
        if route.allow_retention_days != "any":
            days = route.allow_retention_days
            _ranged(file, f"{where}.allow_retention_days", days, 0, DAYS_MAX, ' (days), or "any"')
        _check_retries(file, where, route, arms)
        _check_staff(file, where, route)
        _check_budget_name(file, config, f"{where}.budget", route.budget)
        if route.max_tokens_default is not None:
            _ranged(file, f"{where}.max_tokens_default", route.max_tokens_default, 1, TOKENS_MAX, " (tokens)")


def _check_staff(file: str, where: str, route: RouteSection) -> None:
    if (route.staff_hours is None) != (route.usd_per_staff_hour is None):
        missing = "usd_per_staff_hour" if route.usd_per_staff_hour is None else "staff_hours"
        raise ConfigError(file, f"{where}.{missing}", "is missing: hours of people and what one costs go together")
    if route.staff_hours is not None:
        _ranged(file, f"{where}.staff_hours", route.staff_hours, 0, STAFF_HOURS_MAX, " (hours in the first year)")
    if route.usd_per_staff_hour is not None:
        try:
            nanousd_per_million(route.usd_per_staff_hour)
        except ValueError as error:
            raise ConfigError(file, f"{where}.usd_per_staff_hour", str(error), value=route.usd_per_staff_hour) from None


def _check_retries(file: str, where: str, route: RouteSection, arms: list[str]) -> None:
    for number, arm in enumerate(route.fallbacks):
        _one_of(file, f"{where}.fallbacks", arm, arms)
        if arm in route.fallbacks[:number]:
            raise ConfigError(file, f"{where}.fallbacks", "names an arm twice", value=arm)
    _ranged(file, f"{where}.retries_max", route.retries_max, 0, RETRIES_MAX)
    _seconds(file, f"{where}.retry_wait_s_max", route.retry_wait_s_max, RETRY_WAIT_S_MAX)
    if route.hedge_after_s is not None:
        _seconds(file, f"{where}.hedge_after_s", route.hedge_after_s, HEDGE_AFTER_S_MAX)
    for word in route.retry_on:
        if word not in RETRY_WORDS:
            raise ConfigError(file, f"{where}.retry_on", "is not known", value=word, allowed=", ".join(RETRY_WORDS))


def _check_graders(loaded: Loaded) -> None:
    file, config = loaded.file, loaded.config
    for index, grader in enumerate(config.grader):
        where = f"grader[{index}]"
        _one_of(file, f"{where}.route", grader.route, [row.name for row in config.route])
        if not grader.kind.startswith("python:"):
            _one_of(file, f"{where}.kind", grader.kind, GRADER_KINDS)
        for judge in grader.judges:
            _one_of(file, f"{where}.judges", judge, [row.name for row in config.arm])
        for key in ("schema", "setup", "tests", "rubric"):
            name = getattr(grader, key)
            if name is not None and not loaded.path(name).is_file():
                raise ConfigError(file, f"{where}.{key}", "is not a file", value=str(loaded.path(name)))


def _per_minute(file: str, key: str, value: int | None) -> None:
    if value is not None:
        _ranged(file, key, value, 1, PER_MINUTE_MAX)


def _check_keys(file: str, config: Config) -> None:
    teams = [row.name for row in config.team]
    for team in config.team:
        _check_budget_name(file, config, f"team[{team.name}].budget", team.budget)
    for key in config.key:
        where = f"key[{key.name}]"
        check_secret_form(file, f"{where}.secret", key.secret)
        if key.team is not None:
            _one_of(file, f"{where}.team", key.team, teams)
        _check_budget_name(file, config, f"{where}.budget", key.budget)
        _per_minute(file, f"{where}.requests_per_minute", key.requests_per_minute)
        _per_minute(file, f"{where}.tokens_per_minute", key.tokens_per_minute)
        for name in key.routes:
            if name != "*":
                _one_of(file, f"{where}.routes", name, [row.name for row in config.route])
    _check_budgets(file, config)


def _check_budget_name(file: str, config: Config, key: str, name: str | None) -> None:
    if name is not None:
        _one_of(file, key, name, [row.name for row in config.budget])


def _check_budgets(file: str, config: Config) -> None:
    parents = {row.name: row.parent for row in config.budget}
    for budget in config.budget:
        where = f"budget[{budget.name}]"
        if budget.name == TOKEN_BUDGET:
            raise ConfigError(file, where, "this name is kept for the budgets of trial tokens; choose another")
        _check_budget_name(file, config, f"{where}.parent", budget.parent)
        above, name = [budget.name], budget.parent
        while name is not None and parents.get(name) is not None and name not in above:
            above.append(name)
            name = parents[name]
        if name in above:
            raise ConfigError(file, f"{where}.parent", f"a budget cannot contain itself: {' in '.join((*above, name))}")
        for name in ("limit_usd", "per_user_usd"):
            text = getattr(budget, name)
            if text is not None:
                try:
                    amount = Decimal(text)
                except InvalidOperation:
                    amount = Decimal("NaN")
                if not amount.is_finite() or not 0 <= amount <= BUDGET_USD_MAX:
                    raise ConfigError(
                        file,
                        f"{where}.{name}",
                        "is not an amount",
                        value=text,
                        allowed=f'US dollars as a string, at most {BUDGET_USD_MAX}, e.g. "100.00"',
                    )
        if budget.time_zone not in available_timezones():
            raise ConfigError(
                file,
                f"{where}.time_zone",
                "is not an IANA time zone",
                value=budget.time_zone,
                allowed="e.g. UTC, Europe/Berlin",
            )
