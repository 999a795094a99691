"""Our books beside the provider's: a usage export of theirs, or what their invoice counts, model by model.

The file is JSON Lines or CSV with the columns of `COLUMNS` (those in brackets may be absent): what a provider's usage
export has, renamed. Token classes are disjoint, as everywhere here. For each model and class the difference is said in
tokens and in per cent; a class whose difference is more than `TOLERANCE` is named. Attempts of ours that are estimated,
or whose usage nobody knows, are the first place to look, so their count stands beside.
"""

import csv
import io
from collections.abc import Iterable, Mapping
from datetime import date
from decimal import Decimal, InvalidOperation
from pathlib import Path

import duckdb
import msgspec

from weighbridge.errors import UsageError
from weighbridge.ledger.postings import CLASSES
from weighbridge.records.usage import NANOUSD

TOLERANCE = Decimal("0.005")
"""Half a per cent, of the provider's figure."""
REQUIRED = ("day", "model")
COLUMNS = (*REQUIRED, "requests", *CLASSES, "web_searches", "usd")
COUNTS = ("requests", *CLASSES, "web_searches")


class Theirs(msgspec.Struct, frozen=True, kw_only=True):
    """What the provider says of a model: only what its file has a column for."""

    model: str
    counts: dict[str, int]
    nanousd: int | None


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    what: str
    """A token class, `requests`, `web_searches`, or `usd` (then in nano-dollars)."""
    ours: int
    theirs: int
    within: bool

    @property
    def share(self) -> Decimal | None:
        """Of the provider's figure; `None` where that is 0 and ours is not."""
        if self.ours == self.theirs:
            return Decimal(0)
        return None if self.theirs == 0 else Decimal(self.ours - self.theirs) / self.theirs


class Reconciled(msgspec.Struct, frozen=True, kw_only=True):
    model: str
    differences: tuple[Difference, ...]
    estimated: int
    """Attempts of ours that never heard what they used."""
    unknown: int
    """Attempts of ours without usage or without a cost."""

    @property
    def agrees(self) -> bool:
        return all(one.within for one in self.differences)


class Reconciliation(msgspec.Struct, frozen=True, kw_only=True):
    since: str
    until: str
    """The first and the last day of the file; ours are taken for the same days, in UTC."""
    models: tuple[Reconciled, ...]
    only_ours: tuple[str, ...]
    """Models of the endpoint that we booked and the file does not have."""

    @property
    def agrees(self) -> bool:
        return not self.only_ours and all(one.agrees for one in self.models)


class Export(msgspec.Struct, frozen=True, kw_only=True):
    since: date
    until: date
    models: tuple[Theirs, ...]


def read_export(path: Path) -> Export:
    """Raises `UsageError` with the line and what is wrong with it."""
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read: {error}") from None
    rows = _json_lines(path, text) if text.lstrip()[:1] == "{" else enumerate(csv.DictReader(io.StringIO(text)), 2)
    days: list[date] = []
    sums: dict[str, dict[str, int]] = {}
    money: dict[str, int] = {}
    for number, row in rows:
        try:
            day, model = date.fromisoformat(str(row["day"])), str(row["model"])
            counts = {name: int(str(row[name])) for name in COUNTS if row.get(name) not in (None, "")}
            usd = None if row.get("usd") in (None, "") else Decimal(str(row["usd"]))
        except (KeyError, ValueError, InvalidOperation) as error:
            raise UsageError(f"{path}, line {number}: {error}; a line needs day and model, counts are whole") from None
        if unknown := sorted(set(map(str, row)) - set(COLUMNS)):
            raise UsageError(
                f"{path}, line {number}: unknown columns {', '.join(unknown)}; there are: {', '.join(COLUMNS)}"
            )
        days.append(day)
        mine = sums.setdefault(model, {})
        for name, count in counts.items():
            mine[name] = mine.get(name, 0) + count
        if usd is not None:
            money[model] = money.get(model, 0) + int(usd * NANOUSD)
    if not days:
        raise UsageError(f"{path} has no rows")
    models = tuple(Theirs(model=name, counts=sums[name], nanousd=money.get(name)) for name in sorted(sums))
    return Export(since=min(days), until=max(days), models=models)


def _json_lines(path: Path, text: str) -> Iterable[tuple[int, Mapping[str, object]]]:
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                yield number, msgspec.json.decode(line, type=dict[str, str | int | float | None])
            except msgspec.MsgspecError as error:
                raise UsageError(f"{path}, line {number}: {error}") from None


def reconcile(sql: duckdb.DuckDBPyConnection, endpoint: str, export: Export) -> Reconciliation:
    """`sql` has the view `postings`; every purpose counts, for the provider bills them all."""
    span = [export.since, export.until, endpoint]
    ours = {row[0]: row[1:] for row in sql.execute(_OURS, span).fetchall()}
    return Reconciliation(
        since=export.since.isoformat(),
        until=export.until.isoformat(),
        models=tuple(_reconciled(theirs, ours.get(theirs.model)) for theirs in export.models),
        only_ours=tuple(sorted(set(ours) - {theirs.model for theirs in export.models})),
    )


def _reconciled(theirs: Theirs, ours: tuple[int, ...] | None) -> Reconciled:
    names = (*COUNTS, "usd", "estimated", "unknown")
    mine = dict(zip(names, ours if ours is not None else (0,) * len(names), strict=True))
    compared = dict(theirs.counts) | ({} if theirs.nanousd is None else {"usd": theirs.nanousd})
    differences = tuple(
        Difference(what=name, ours=int(mine[name]), theirs=said, within=_within(int(mine[name]), said))
        for name, said in compared.items()
    )
    return Reconciled(
        model=theirs.model, differences=differences, estimated=int(mine["estimated"]), unknown=int(mine["unknown"])
    )


def _within(ours: int, theirs: int) -> bool:
    return abs(ours - theirs) <= TOLERANCE * theirs


_OURS = (
    "SELECT model, count(*) FILTER (has_usage OR estimated), "
    + ", ".join(f"sum({name})" for name in (*CLASSES, "web_searches"))
    + ", coalesce(sum(cost_nanousd), 0)::HUGEINT, count(*) FILTER (estimated), "
    "count(*) FILTER (cost_nanousd IS NULL OR (NOT has_usage AND NOT estimated AND status = 200)) "
    "FROM postings WHERE time::DATE BETWEEN ? AND ? AND endpoint = ? GROUP BY model"
)
