"""Configuration and prices become the route table that workers read. Pure: what it needs of the world is handed in."""

import ipaddress
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from hashlib import blake2b, sha256
from typing import Literal
from urllib.parse import urlsplit

import msgspec

from weighbridge.config import Loaded
from weighbridge.config.tree import (
    ArmSection,
    BudgetSection,
    EndpointSection,
    GraderSection,
    KeySection,
    RouteSection,
)
from weighbridge.errors import ConfigError
from weighbridge.keeper.ramps import Ramps, with_ramps
from weighbridge.ledger.cancel import cancel_stops_billing
from weighbridge.ledger.failed import failed_calls
from weighbridge.ledger.limits import LimitChange, with_limits
from weighbridge.ledger.prices import PriceAnswer, PriceFound
from weighbridge.records.budget import Budget
from weighbridge.records.canonical import canonical, digest
from weighbridge.records.permission import arm_refusal
from weighbridge.records.table import (
    SCHEMA,
    SHARE_WHOLE,
    Arm,
    Capture,
    Endpoint,
    Escalate,
    FailedCalls,
    Key,
    Limits,
    Route,
    RouteTable,
    ServerTls,
    Share,
    UsualOutput,
)
from weighbridge.records.usage import NANOUSD

TRIAL_KEY_NAME = "trial"
"""The client key name that trial exchanges are booked on; no configured key may have it."""

ClientKeys = Literal["all", "present"]


class World(msgspec.Struct, frozen=True, kw_only=True):
    """What compiling needs from outside."""

    secret: Callable[[str], str]
    """Resolves `env:NAME` or `file:PATH`; raises `LookupError` saying what is missing."""
    text: Callable[[str], str]
    """Reads a text file of the configuration; raises `OSError` or `UnicodeDecodeError`."""
    price: Callable[[ArmSection, EndpointSection], PriceAnswer]


class Compiled(msgspec.Struct, frozen=True, kw_only=True):
    table: RouteTable
    warnings: tuple[str, ...]
    """Things that work but not as somebody may expect, one sentence each, with the next step."""
    valid_until_ns: int | None
    """When a price in it may change: compile again then. `None`: never by itself."""


def compile_table(
    loaded: Loaded,
    *,
    number: int,
    now_ns: int,
    trial_key: str,
    world: World,
    client_keys: ClientKeys = "all",
    made_keys: tuple[Key, ...] = (),
    ramps: Ramps | None = None,
    overrides: frozenset[str] = frozenset(),
    usual: Mapping[str, tuple[UsualOutput, ...]] | None = None,
    limits: Mapping[str, LimitChange] | None = None,
) -> Compiled:
    """The route table of a configuration. Raises `ConfigError` where it cannot be served as written.

    `client_keys="present"` leaves out keys whose secret is missing (a trial needs none) instead of refusing.
    `made_keys` are those of `key create`; `ramps` hold the shares, `overrides` the routes that are held at their
    incumbent, `usual` how long answers usually are, by route, `limits` what budgets are allowed instead of what the
    configuration says.
    """
    _refuse_what_cannot_be_kept(loaded, client_keys, made_keys)
    config = loaded.config
    warnings: list[str] = []
    by_name = {row.name: row for row in config.endpoint}
    answers = {arm.name: world.price(arm, by_name[arm.endpoint]) for arm in config.arm}
    table = RouteTable(
        schema=SCHEMA,
        number=number,
        created_ns=now_ns,
        config_digest=digest(canonical(config)),
        trial_key=trial_key,
        durability=config.store.durability,
        capture=Capture(
            bodies=config.capture.bodies,
            sample_basis_points=round(config.capture.sample * SHARE_WHOLE),
            redact=config.capture.redact,
            purpose=config.capture.purpose,
            approved_by=config.capture.approved_by,
            encrypt_key=config.capture.encrypt_key,
        ),
        limits=msgspec.convert(msgspec.structs.asdict(config.limits), Limits),
        endpoints=tuple(_endpoint(loaded, row, world, warnings) for row in config.endpoint),
        arms=tuple(_arm(loaded, row, answers[row.name], world) for row in config.arm),
        routes=tuple(_route(row, config.grader, (usual or {}).get(row.name, ())) for row in config.route),
        keys=(*_keys(loaded, world, client_keys, made_keys, warnings), *made_keys),
        server_tls=_server_tls(loaded, world, warnings),
        budgets=with_limits(tuple(map(compiled_budget, config.budget)), limits or {}),
    )
    table = with_ramps(table, ramps or {}, overrides, loaded)
    warnings += _missing_upstream_keys(table, world)
    for arm in table.arms:
        answer = answers[arm.name]
        if not isinstance(answer, PriceFound):
            warnings.append(f"the cost of arm {arm.name!r} is unknown: {answer.why}")
    for route in table.routes:
        for kind, arms in (("candidate", route.candidates), ("judge", route.judges)):
            for name in arms:
                refused = arm_refusal(table, route, name)
                if refused:
                    warnings.append(f"{kind} {name!r} gets no prompt: {refused}")
        warnings += fallback_problems(table, route)
    warnings += _unused_budgets(table)
    if not config.capture.bodies:
        warnings.append(
            "prompts and answers are not captured, so nothing can be tried on them: set capture.bodies = true with a "
            "purpose and approved_by"
        )
    ends = [answer.until_ns for answer in answers.values() if answer.until_ns is not None]
    return Compiled(table=table, warnings=tuple(warnings), valid_until_ns=min(ends, default=None))


def _refuse_what_cannot_be_kept(loaded: Loaded, client_keys: ClientKeys, made_keys: tuple[Key, ...]) -> None:
    file, config = loaded.file, loaded.config
    if not config.route:
        raise ConfigError(
            file, "route", "there is none, so there is nothing to serve; add a [[route]] with an incumbent"
        )
    if not config.key and not made_keys and client_keys == "all":
        raise ConfigError(
            file,
            "key",
            "there is none, so no client could be let in; make one with `weighbridge key create NAME`, or add a "
            "[[key]] with a secret (env:NAME or file:PATH)",
        )
    for key in config.key:
        if key.name == TRIAL_KEY_NAME:
            raise ConfigError(file, f"key[{key.name}]", "this name is kept for the replays of trials; choose another")


def _endpoint(loaded: Loaded, row: EndpointSection, world: World, warnings: list[str]) -> Endpoint:
    loopback, own = _address(row.base_url)
    return Endpoint(
        name=row.name,
        dialect=row.dialect,
        base_url=row.base_url.rstrip("/"),
        api_key=row.api_key,
        provider=row.provider,
        region=row.region,
        retention_days=row.retention_days,
        trains_on_data=row.trains_on_data,
        agreement=row.agreement,
        precision=row.precision,
        loopback=loopback,
        address_is_own=own,
        speaks=row.speaks,
        api_version=row.api_version,
        token=row.token,
        credentials=_path(loaded, row.credentials),
        signing_region=row.signing_region,
        ca_file=_path(loaded, row.ca_file),
        client_cert=_path(loaded, row.client_cert),
        client_key=_path(loaded, row.client_key),
        tls_digest=_digest_of(
            loaded, f"endpoint[{row.name}]", (row.ca_file, row.client_cert, row.client_key), world, warnings
        ),
        concurrency_max=row.concurrency_max,
        queue_max=row.queue_max,
        queue_s_max=row.queue_s_max,
        cancel_stops_billing=(
            cancel_stops_billing(row.provider) if row.cancel_stops_billing is None else row.cancel_stops_billing
        ),
        failed_calls=_failed_calls(loaded, row),
    )


def _failed_calls(loaded: Loaded, row: EndpointSection) -> FailedCalls:
    """An own server's hours are paid whatever it answers."""
    if row.failed_calls is not None:
        return row.failed_calls
    own = any(one.endpoint == row.name and one.kind == "gpu_hours" for one in loaded.config.commitment)
    return "unbilled" if own else failed_calls(row.provider)


def _path(loaded: Loaded, text: str | None) -> str | None:
    return None if text is None else str(loaded.path(text))


def _digest_of(loaded: Loaded, where: str, paths: tuple[str | None, ...], world: World, warnings: list[str]) -> str:
    """Of what the files hold; a file that cannot be read is named now, and by whoever needs it."""
    if not any(paths):
        return ""
    whole = sha256()
    for path in paths:
        try:
            text = "" if path is None else world.text(path)
        except (OSError, UnicodeDecodeError) as error:
            warnings.append(f"{where}: {loaded.path(path or '')} cannot be read: {error}")
            continue
        whole.update(b"%d:" % len(text) + text.encode())
    return whole.hexdigest()


def _server_tls(loaded: Loaded, world: World, warnings: list[str]) -> ServerTls | None:
    server = loaded.config.server
    if server.tls_cert is None:
        return None
    files = (server.tls_cert, server.tls_key, server.tls_client_ca)
    return ServerTls(
        cert=str(loaded.path(server.tls_cert)),
        key=_path(loaded, server.tls_key),
        client_ca=_path(loaded, server.tls_client_ca),
        digest=_digest_of(loaded, "server", files, world, warnings),
    )


def _address(base_url: str) -> tuple[bool, bool]:
    """Is the host this machine's loopback; is it an IP literal or `localhost`, written down on purpose?"""
    host = urlsplit(base_url).hostname or ""
    if host == "localhost":
        return True, True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False, False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.is_loopback, True


def _arm(loaded: Loaded, row: ArmSection, answer: PriceAnswer, world: World) -> Arm:
    known = answer if isinstance(answer, PriceFound) else None
    return Arm(
        name=row.name,
        endpoint=row.endpoint,
        model=row.model,
        weights=row.weights,
        terms=row.terms,
        price=None if known is None else known.price,
        price_version=None if known is None else known.version,
        later=() if known is None else known.later,
        system_prompt=_system_prompt(loaded, row, world),
        budget=row.budget,
        escalate=None if row.escalate is None else msgspec.convert(msgspec.structs.asdict(row.escalate), Escalate),
    )


def _system_prompt(loaded: Loaded, row: ArmSection, world: World) -> str | None:
    if row.system_prompt_file is None:
        return None
    try:
        return world.text(row.system_prompt_file)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            loaded.file,
            f"arm[{row.name}].system_prompt_file",
            f"cannot be read: {error}",
            value=row.system_prompt_file,
            allowed="a UTF-8 text file",
        ) from None


def _route(row: RouteSection, graders: Sequence[GraderSection], usual: tuple[UsualOutput, ...]) -> Route:
    judges = dict.fromkeys(judge for grader in graders if grader.route == row.name for judge in grader.judges)
    return Route(
        name=row.name,
        incumbent=row.incumbent,
        aliases=row.aliases,
        candidates=row.candidates,
        # Everything goes to the incumbent; a ramp may say otherwise (`with_ramps`).
        shares=(Share(arm=row.incumbent, basis_points=SHARE_WHOLE),),
        judges=tuple(judges),
        slice_by=row.slice_by,
        allow_regions=row.allow_regions,
        allow_retention_days=row.allow_retention_days,
        allow_training_on_data=row.allow_training_on_data,
        max_tokens_default=row.max_tokens_default,
        usual_output=usual,
        fallbacks=row.fallbacks,
        retries_max=row.retries_max,
        retry_on=row.retry_on,
        retry_ambiguous=row.retry_ambiguous,
        retry_wait_s_max=row.retry_wait_s_max,
        hedge_after_s=row.hedge_after_s,
        budget=row.budget,
    )


def compiled_budget(row: BudgetSection) -> Budget:
    return Budget(
        name=row.name,
        limit_nanousd=_nanousd(row.limit_usd),
        parent=row.parent,
        window=row.window,
        time_zone=row.time_zone,
        hard=row.hard,
        on_ledger_loss=row.on_ledger_loss,
        per_user_nanousd=None if row.per_user_usd is None else _nanousd(row.per_user_usd),
        purposes=row.purposes,
    )


def _nanousd(usd: str) -> int:
    """Rounded down: a cap is never more than what was written."""
    return int(Decimal(usd) * NANOUSD)


def _unused_budgets(table: RouteTable) -> list[str]:
    named = {row.budget for rows in (table.keys, table.routes, table.arms) for row in rows}
    named |= {row.parent for row in table.budgets}
    return [
        f"budget {row.name!r} counts nothing: no key, team, route, arm or purpose names it"
        for row in table.budgets
        if row.name not in named and not row.purposes
    ]


def key_digest(secret: str) -> str:
    """BLAKE2b-256 of a client key, 64 hex digits: all that is kept of it."""
    return blake2b(secret.encode(), digest_size=32).hexdigest()


def _keys(
    loaded: Loaded, world: World, client_keys: ClientKeys, made_keys: tuple[Key, ...], warnings: list[str]
) -> tuple[Key, ...]:
    keys: list[Key] = []
    seen = {key.digest: key.name for key in made_keys}
    of_team = {team.name: team.budget for team in loaded.config.team}
    for row in loaded.config.key:
        secret = _client_secret(loaded, row, world, client_keys, warnings)
        if secret is None:
            continue
        hashed = key_digest(secret)
        if hashed in seen:
            raise ConfigError(
                loaded.file,
                f"key[{row.name}].secret",
                f"is the same secret as that of key {seen[hashed]!r}; each needs its own",
            )
        seen[hashed] = row.name
        budget = row.budget or (None if row.team is None else of_team.get(row.team))
        keys.append(
            Key(
                name=row.name,
                digest=hashed,
                team=row.team,
                routes=row.routes,
                budget=budget,
                requests_per_minute=row.requests_per_minute,
                tokens_per_minute=row.tokens_per_minute,
            )
        )
    return tuple(keys)


def _client_secret(
    loaded: Loaded, row: KeySection, world: World, client_keys: ClientKeys, warnings: list[str]
) -> str | None:
    try:
        return world.secret(row.secret)
    except LookupError as error:
        missing = str(error.args[0])
        if client_keys == "all":
            raise ConfigError(
                loaded.file,
                f"key[{row.name}].secret",
                f"{missing}, so this client could not be let in",
                value=row.secret,
            ) from None
        warnings.append(f"client key {row.name!r} is left out: {missing}")
        return None


def fallback_problems(table: RouteTable, route: Route) -> list[str]:
    """What of a route's fallbacks will not work as somebody may expect."""
    found = []
    for arm in route.fallbacks:
        refused = arm_refusal(table, route, arm)
        if refused:
            found.append(f"fallback {arm!r} gets no prompt: {refused}")
    usable = len(route.fallbacks) - len(found)
    if usable > max(1, route.retries_max):
        found.append(
            f"route {route.name!r} has {usable} fallbacks and retries_max = {route.retries_max}: the later ones are "
            "asked only while the earlier ones are out of service; set retries_max to the number of fallbacks"
        )
    return found


def _missing_upstream_keys(table: RouteTable, world: World) -> list[str]:
    used = {
        table.arm(arm).endpoint
        for route in table.routes
        for arm in (route.incumbent, *route.candidates, *route.fallbacks, *route.judges)
    }
    found: list[str] = []
    for endpoint in table.endpoints:
        if endpoint.name in used and endpoint.api_key is not None:
            try:
                world.secret(endpoint.api_key)
            except LookupError as error:
                found.append(f"requests to endpoint {endpoint.name!r} will be answered 503: {error.args[0]}")
    return found
