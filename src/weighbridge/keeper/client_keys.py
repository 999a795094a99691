"""What may be done with client keys, and which of them stand in the route table.

    create -> one live secret -> rotate -> two -> the older one ends -> one -> ... -> revoke -> none, for good

The keeper never sees a secret: the command makes it, shows it once, and hands over its digest.
"""

from collections.abc import Iterable

import msgspec

from weighbridge.config import Config
from weighbridge.config.checks import PER_MINUTE_MAX
from weighbridge.errors import ControlError, NotThereError
from weighbridge.keeper.compile import TRIAL_KEY_NAME
from weighbridge.records.table import Key
from weighbridge.store.client_keys import StoredKey, StoredSecret
from weighbridge.store.control import CreateKey, KeyRow, LimitKey, RevokeKey, RotateKey

DIGEST_DIGITS = 64
LIVE_MAX = 2
"""Live secrets of one key: the new one, and the old one until every client has changed."""
NAME_CHARS_MAX = 64
FINGERPRINT_DIGITS = 8


class TableKeys(msgspec.Struct, frozen=True):
    """What the stored keys put into a route table."""

    rows: tuple[Key, ...]
    warnings: tuple[str, ...]
    until_ns: int | None
    """When the next secret ends; `None`: never by itself."""


def create(stored: Iterable[StoredKey], config: Config, asked: CreateKey, now_ns: int) -> StoredKey:
    """The key to store. Raises `ControlError` where the name is taken or something that it names is not configured."""
    _refuse_name(asked.name)
    if any(row.name == asked.name for row in config.key):
        raise ControlError(f"{asked.name!r} is a [[key]] of the configuration; change it there, or choose another name")
    known = next((row for row in stored if row.name == asked.name), None)
    if known is not None:
        state = "was revoked" if known.revoked_ns is not None else "is there already"
        raise ControlError(
            f"a key {asked.name!r} {state}. Exchanges are recorded under that name, so it is not given twice; choose "
            "another one, or give this one a new secret with `weighbridge key rotate`"
        )
    for kind, named, has in (
        ("team", asked.team, [row.name for row in config.team]),
        ("budget", asked.budget, [row.name for row in config.budget]),
        *(("route", route, [row.name for row in config.route]) for route in asked.routes if route != "*"),
    ):
        if named is not None and named not in has:
            raise ControlError(f"the configuration has no {kind} {named!r}; it has: {', '.join(has) or 'none'}")
    if not asked.routes:
        raise ControlError('a key without a route could ask for nothing; name routes, or "*" for every route')
    _refuse_limits(asked.requests_per_minute, asked.tokens_per_minute)
    secret = _secret(stored, asked.digest, asked.expires_ns, now_ns)
    return StoredKey(
        name=asked.name,
        team=asked.team,
        routes=asked.routes,
        budget=asked.budget,
        created_ns=now_ns,
        requests_per_minute=asked.requests_per_minute,
        tokens_per_minute=asked.tokens_per_minute,
        secrets=(secret,),
    )


def limit(stored: Iterable[StoredKey], asked: LimitKey) -> StoredKey:
    """The key with other limits of its rate; what is not named stays as it is."""
    key = _usable(stored, asked.name)
    requests, tokens = asked.requests_per_minute, asked.tokens_per_minute
    if requests is msgspec.UNSET and tokens is msgspec.UNSET:
        raise ControlError("no limit was named: say requests per minute, tokens per minute or both; none lifts one")
    requests = key.requests_per_minute if requests is msgspec.UNSET else requests
    tokens = key.tokens_per_minute if tokens is msgspec.UNSET else tokens
    _refuse_limits(requests, tokens)
    return msgspec.structs.replace(key, requests_per_minute=requests, tokens_per_minute=tokens)


def _refuse_limits(requests: int | None, tokens: int | None) -> None:
    for what, value in (("requests", requests), ("tokens", tokens)):
        if value is not None and not 1 <= value <= PER_MINUTE_MAX:
            raise ControlError(
                f"{value} {what} per minute is not a limit; allowed are 1 to {PER_MINUTE_MAX}, or none for no limit. "
                "To let nobody in, revoke the key"
            )


def rotate(stored: Iterable[StoredKey], asked: RotateKey, now_ns: int) -> StoredKey:
    """The key with a new secret; the old one lives `overlap_ns` longer, and no longer than it had."""
    rows = tuple(stored)
    key = _usable(rows, asked.name)
    live = key.live(now_ns)
    if len(live) >= LIVE_MAX:
        raise ControlError(
            f"key {key.name!r} has {LIVE_MAX} live secrets already. Wait until the older one has ended, or end it now "
            f"with `weighbridge key revoke {key.name} --old`"
        )
    if asked.overlap_ns < 0:
        raise ControlError("the overlap cannot be negative; 0 ends the old secret at once")
    ends_ns = now_ns + asked.overlap_ns
    living = {secret.digest for secret in live}
    kept = tuple(_ending(secret, ends_ns, now_ns) if secret.digest in living else secret for secret in key.secrets)
    new = _secret(rows, asked.digest, asked.expires_ns, now_ns)
    return msgspec.structs.replace(key, secrets=(*kept, new))


def _ending(secret: StoredSecret, ends_ns: int, now_ns: int) -> StoredSecret:
    if ends_ns <= now_ns:
        return msgspec.structs.replace(secret, revoked_ns=now_ns)
    return msgspec.structs.replace(
        secret, expires_ns=ends_ns if secret.expires_ns is None else min(ends_ns, secret.expires_ns)
    )


def revoke(stored: Iterable[StoredKey], asked: RevokeKey, now_ns: int) -> StoredKey:
    """The key without live secrets, for good; with `old_only` all but the newest secret end."""
    key = _usable(stored, asked.name)
    live = key.live(now_ns)
    ending = {secret.digest for secret in (live[:-1] if asked.old_only else live)}
    if asked.old_only and not ending:
        raise ControlError(f"key {key.name!r} has {len(live)} live secret(s), and no older one beside the newest")
    secrets = tuple(
        msgspec.structs.replace(secret, revoked_ns=now_ns) if secret.digest in ending else secret
        for secret in key.secrets
    )
    return msgspec.structs.replace(key, secrets=secrets, revoked_ns=None if asked.old_only else now_ns)


def _usable(stored: Iterable[StoredKey], name: str) -> StoredKey:
    rows = tuple(stored)
    key = next((row for row in rows if row.name == name), None)
    if key is None:
        known = ", ".join(row.name for row in rows if row.revoked_ns is None) or "none"
        raise NotThereError(
            f"no key {name[:NAME_CHARS_MAX]!r} was made with `key create`; there are: {known}. Keys of the "
            "configuration file are changed there (then SIGHUP to `weighbridge serve`)"
        )
    if key.revoked_ns is not None:
        raise ControlError(f"key {key.name!r} was revoked, for good; make a new one with `weighbridge key create`")
    return key


def _refuse_name(name: str) -> None:
    readable = name.isprintable() and not any(char in name for char in " /\\\"'")
    if not name.strip(".") or len(name) > NAME_CHARS_MAX or not readable or name == TRIAL_KEY_NAME:
        raise ControlError(
            f"{name[:NAME_CHARS_MAX]!r} is not a name for a key; allowed are 1 to {NAME_CHARS_MAX} visible characters "
            f"but spaces, / \\ ' and \", and not {TRIAL_KEY_NAME!r}"
        )


def _secret(stored: Iterable[StoredKey], digest: str, expires_ns: int | None, now_ns: int) -> StoredSecret:
    if len(digest) != DIGEST_DIGITS or not set(digest) <= set("0123456789abcdef"):
        raise ControlError(f"a digest has {DIGEST_DIGITS} hex digits")
    if any(secret.digest == digest for key in stored for secret in key.secrets):
        raise ControlError("this secret was given out before; each is used once")
    if expires_ns is not None and expires_ns <= now_ns:
        raise ControlError("the time when the secret expires is over already; give a later one")
    return StoredSecret(digest=digest, created_ns=now_ns, expires_ns=expires_ns)


def for_table(stored: Iterable[StoredKey], config: Config, now_ns: int) -> TableKeys:
    """The keys that let somebody in now.

    A key whose budget is gone from the configuration is left out: with nothing to count against it could spend without
    a limit. So is one whose name the configuration has taken: whom would its exchanges belong to?
    """
    budgets, routes = {row.name for row in config.budget}, {row.name for row in config.route}
    configured = {row.name for row in config.key}
    rows: list[Key] = []
    warnings: list[str] = []
    ends: list[int] = []
    for key in stored:
        live = key.live(now_ns)
        if not live:
            continue
        if key.name in configured:
            warnings.append(f"key {key.name!r} made with `key create` is left out: a [[key]] has the same name")
            continue
        if key.budget is not None and key.budget not in budgets:
            warnings.append(f"key {key.name!r} is left out: its budget {key.budget!r} is not configured any more")
            continue
        missing = [route for route in key.routes if route != "*" and route not in routes]
        if missing:
            warnings.append(f"key {key.name!r} names routes that are not configured any more: {', '.join(missing)}")
        ends += [secret.expires_ns for secret in live if secret.expires_ns is not None]
        rows += [
            Key(
                name=key.name,
                digest=secret.digest,
                team=key.team,
                routes=key.routes,
                budget=key.budget,
                expires_ns=secret.expires_ns,
                requests_per_minute=key.requests_per_minute,
                tokens_per_minute=key.tokens_per_minute,
            )
            for secret in live
        ]
    return TableKeys(tuple(rows), tuple(warnings), min(ends, default=None))


def listed(stored: Iterable[StoredKey], config: Config, now_ns: int) -> tuple[KeyRow, ...]:
    """Every key, those of the configuration first."""
    rows = [
        KeyRow(
            name=row.name,
            source="config",
            team=row.team,
            routes=row.routes,
            budget=row.budget,
            requests_per_minute=row.requests_per_minute,
            tokens_per_minute=row.tokens_per_minute,
        )
        for row in config.key
    ]
    for key in stored:
        live = key.live(now_ns)
        rows.append(
            KeyRow(
                name=key.name,
                source="created",
                team=key.team,
                routes=key.routes,
                budget=key.budget,
                created_ns=key.created_ns,
                revoked_ns=key.revoked_ns,
                requests_per_minute=key.requests_per_minute,
                tokens_per_minute=key.tokens_per_minute,
                live=tuple((secret.digest[:FINGERPRINT_DIGITS], secret.expires_ns) for secret in live),
            )
        )
    return tuple(rows)
