"""`license statement`: what was metered, by model and month, for licences that ask for a share or a report."""

import csv
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path

import msgspec

from weighbridge.config import Loaded
from weighbridge.errors import UsageError, WeighbridgeError
from weighbridge.exchanges.chain import is_signed_by, split
from weighbridge.licenses.resolve import Recorded, resolve
from weighbridge.records.exchange import Attempt, Exchange
from weighbridge.records.frames import Purpose
from weighbridge.records.statement import SIGNED_AS, STATEMENT_SCHEMA, Metered, Revenue, SignedStatement, Statement

_MONTH = re.compile(r"\d{4}-(0[1-9]|1[0-2])")


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    first_month: str | None = None
    last_month: str | None = None
    models: tuple[str, ...] = ()


def month_of(text: str, option: str) -> str:
    """Raises `UsageError`."""
    if not _MONTH.fullmatch(text):
        raise UsageError(f"{option} {text}: is not a month; write YYYY-MM")
    return text


def month_at(time_ns: int) -> str:
    return datetime.fromtimestamp(time_ns // 1_000_000_000, UTC).strftime("%Y-%m")


def month_starts_ns(month: str, *, after: int = 0) -> int:
    """The first nanosecond of a month (UTC), or of the one `after` months later."""
    count = int(month[:4]) * 12 + int(month[5:]) - 1 + after
    return int(datetime(count // 12, count % 12 + 1, 1, tzinfo=UTC).timestamp()) * 1_000_000_000


@dataclass
class _Sum:
    arms: set[str] = field(default_factory=set)
    calls: int = 0
    uncounted: int = 0
    estimated: int = 0
    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    reasoning: int = 0

    def add(self, attempt: Attempt) -> None:
        self.arms.add(attempt.arm)
        self.calls += 1
        usage = attempt.usage
        if usage is None:
            self.uncounted += 1
            return
        self.estimated += attempt.estimated
        self.input += usage.input
        self.output += usage.output
        self.cache_read += usage.cache_read
        self.cache_write += usage.cache_write + usage.cache_write_1h
        self.reasoning += usage.reasoning


def meter(log: Iterable[Exchange], loaded: Loaded, asked: Asked) -> tuple[Metered, ...]:
    """Calls by month, model and purpose, in that order. Every attempt counts: a retried call was computed twice.

    Without `asked.models`, models that an arm of the configuration says are closed are left out. Raises `Corrupt`.
    """
    closed = {row.model for row in loaded.config.arm if row.weights == "closed"}
    sums: defaultdict[tuple[str, str, Purpose], _Sum] = defaultdict(_Sum)
    for exchange in log:
        month = month_at(exchange.time_ns)
        if month < (asked.first_month or month) or month > (asked.last_month or month):
            continue
        for attempt in exchange.attempts:
            wanted = attempt.model in asked.models if asked.models else attempt.model not in closed
            if wanted and not _never_sent(attempt):
                sums[month, attempt.model, exchange.purpose].add(attempt)
    return tuple(_row(key, sums[key], loaded) for key in sorted(sums))


def _never_sent(attempt: Attempt) -> bool:
    """No status and no count: nothing is known to have reached a model, and the error says why."""
    return attempt.status is None and attempt.usage is None and attempt.error is not None


def _row(key: tuple[str, str, Purpose], one: _Sum, loaded: Loaded) -> Metered:
    month, model, purpose = key
    return Metered(
        month=month, model=model, arms=tuple(sorted(one.arms)), terms=_terms(model, one.arms, loaded), purpose=purpose,
        calls=one.calls, calls_uncounted=one.uncounted, calls_estimated=one.estimated, input=one.input,
        output=one.output, cache_read=one.cache_read, cache_write=one.cache_write, reasoning=one.reasoning,
        total=one.input + one.output + one.cache_read + one.cache_write + one.reasoning,
    )  # fmt: skip


def _terms(model: str, arms: set[str], loaded: Loaded) -> tuple[str, ...]:
    """As configured for the arm, where it still calls this model; else as recorded of the model. Empty: not known."""
    stated = {row.terms for row in loaded.config.arm if row.name in arms and row.model == model and row.terms}
    found = [
        part.terms.id for name in sorted(stated) or [model] for part in resolve(name) if isinstance(part, Recorded)
    ]
    return tuple(dict.fromkeys(found))


def read_revenue(file: Path) -> dict[tuple[str, str], str]:
    """`month,model,revenue_usd` as CSV -> (month, model) -> decimal. Raises `UsageError` with line and field."""
    found: dict[tuple[str, str], str] = {}
    try:
        rows = list(csv.DictReader(file.read_text(encoding="utf-8-sig").splitlines()))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"--revenue {file}: cannot be read: {error}") from None
    for number, row in enumerate(rows, 2):
        where = f"--revenue {file}, line {number}"
        missing = [name for name in ("month", "model", "revenue_usd") if row.get(name) is None]
        if missing:
            raise UsageError(f"{where}: has no {', '.join(missing)}; the first line is month,model,revenue_usd")
        month, model, text = row["month"].strip(), row["model"].strip(), row["revenue_usd"].strip()
        if not _MONTH.fullmatch(month):
            raise UsageError(f"{where}: month {month!r} is not a month; write YYYY-MM")
        if (month, model) in found:
            raise UsageError(f"{where}: {model} in {month} was given already; add the amounts up")
        if not text:
            continue  # unknown
        try:
            amount = Decimal(text)
        except InvalidOperation:
            amount = Decimal("NaN")
        if not amount.is_finite() or amount < 0:
            raise UsageError(
                f"{where}: revenue_usd {text!r} is not an amount; write 0 or more, e.g. 125000.00, or nothing"
            )
        found[month, model] = format(amount, "f")
    return found


def statement(
    metered: tuple[Metered, ...],
    given: Mapping[tuple[str, str], str],
    asked: Asked,
    *,
    store_key: str,
    now_ns: int,
    notes: tuple[str, ...] = (),
) -> Statement:
    """Raises `UsageError` where revenue is given for what was not metered: most often a name is misspelt."""
    known = {(row.month, row.model) for row in metered}
    stray = sorted(set(given) - known)
    if stray:
        names = ", ".join(f"{model} in {month}" for month, model in stray)
        have = ", ".join(f"{model} in {month}" for month, model in sorted(known)) or "nothing"
        raise UsageError(f"--revenue: {names}: not metered in the months asked for; metered were: {have}")
    unknown = sorted(known - set(given))
    said = list(notes)
    if unknown:
        said.append(f"Attributed revenue is unknown for {len(unknown)} of {len(known)} models and months.")
    if any(row.calls_uncounted for row in metered):
        said.append("Calls without a provider's count are listed; the tokens are a lower bound.")
    return Statement(
        schema=STATEMENT_SCHEMA,
        created=datetime.fromtimestamp(now_ns // 1_000_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        store_key=store_key,
        first_month=asked.first_month,
        last_month=asked.last_month,
        models=asked.models,
        metered=metered,
        revenue=tuple(Revenue(month=m, model=n, revenue_usd=given.get((m, n))) for m, n in sorted(known)),
        months_not_over=tuple(sorted({row.month for row in metered if row.month >= month_at(now_ns)})),
        notes=tuple(said),
    )


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """The documented JSON of `license statement --check`."""

    ok: bool
    signed_by: str
    """Public key, 64 hex digits."""
    key_known: bool
    """It is the key of the store here, or the one that was given."""
    differences: tuple[str, ...]
    """Against the log of the store here, where that is the store that signed."""
    problems: tuple[str, ...]
    statement: Statement


def read_signed(raw: bytes, where: str) -> tuple[Statement, bytes, bytes]:
    """A statement's file, the bytes that are signed, the signature. Raises `WeighbridgeError`."""
    try:
        body, signature = split(raw.removesuffix(b"\n"))
        made = msgspec.json.decode(body, type=Statement)
    except (ValueError, msgspec.MsgspecError) as error:
        raise WeighbridgeError(f"{where} is not a signed statement: {error}") from None
    if made.schema != STATEMENT_SCHEMA:
        raise WeighbridgeError(f"{where}: schema {made.schema!r} is not known; allowed is {STATEMENT_SCHEMA}")
    return made, body, signature


def check(raw: bytes, where: str, key: str | None, now: tuple[Metered, ...] | None) -> Checked:
    """Is the file as it was signed, by whom, and do its figures follow from the log (`now`: metered again)?"""
    made, body, signature = read_signed(raw, where)
    problems = []
    if not is_signed_by(made.store_key, SIGNED_AS + body, signature):
        problems.append("the signature does not fit: the file is not the one that was signed")
    if key is not None and key != made.store_key:
        problems.append(f"signed by {made.store_key}, which is not the expected key {key}")
    differences = () if now is None else tuple(_differences(made.metered, now))
    return Checked(
        ok=not problems and not differences,
        signed_by=made.store_key,
        key_known=key is not None and key == made.store_key,
        differences=differences,
        problems=tuple(problems),
        statement=made,
    )


def _differences(was: tuple[Metered, ...], now: tuple[Metered, ...]) -> Iterable[str]:
    before = {(row.month, row.model, row.purpose): row for row in was}
    after = {(row.month, row.model, row.purpose): row for row in now}
    for key in sorted(before.keys() | after.keys()):
        old, new = before.get(key), after.get(key)
        figures = [(0, 0) if row is None else (row.calls, row.total) for row in (old, new)]
        if figures[0] != figures[1]:
            (calls, total), (calls_now, total_now) = figures
            yield (
                f"{key[1]} in {key[0]} ({key[2]}): {calls} calls and {total} tokens stated, "
                f"{calls_now} and {total_now} in the log now"
            )


__all__ = ["Asked", "Checked", "SignedStatement", "check", "meter", "read_revenue", "statement"]
