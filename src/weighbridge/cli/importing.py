"""`weighbridge exchanges import`."""

import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import IO, Annotated

import msgspec
import typer

from weighbridge.app import keeper_of
from weighbridge.cli.options import DEFAULT_CONFIG, ConfigFile, Json
from weighbridge.cli.outside import outside
from weighbridge.config import Loaded, load, secret
from weighbridge.errors import ExitCode, StoreError, UsageError
from weighbridge.exchanges.bodies import BodySealer, master_key
from weighbridge.exchanges.importing import TAG, Imported, Plan, Target, import_rows, targets
from weighbridge.exchanges.incoming import Incoming, Refused, incoming
from weighbridge.ledger.prices import PriceFound, compile_price
from weighbridge.records.usage import Price
from weighbridge.store.layout import Layout

_HOUR_NS = 3_600_000_000_000


class _Aside:
    """Refused rows of one file, beside it; made at the first one, readable by its owner only: rows hold prompts."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: IO[bytes] | None = None

    def write(self, row: Refused) -> None:
        if self._file is None:
            self.path.unlink(missing_ok=True)
            self.path.touch(mode=0o600, exist_ok=False)
            self._file = self.path.open("wb")
        self._file.write(msgspec.json.encode(row) + b"\n")

    def close(self) -> bool:
        """Was there any?"""
        if self._file is None:
            return False
        self._file.close()
        return True


def import_(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="JSON lines, gzip is fine.", exists=True, dir_okay=False),
    ],
    route: Annotated[str, typer.Option(help="The route that the requests belong to.")],
    arm: Annotated[
        str | None,
        typer.Option(help="The arm that answered all of them; else the route's arm with the model that a row names."),
    ] = None,
    tag: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="A tag for all of them; may be given again.")
    ] = None,
    team: Annotated[str | None, typer.Option(help="Whose they are, where a row does not say.")] = None,
    config: ConfigFile = DEFAULT_CONFIG,
    as_json: Json = False,
) -> None:
    """Bring logged requests with their answers into the exchange log, so that a trial needs no gateway in the path.

    A row is one JSON object with an OpenAI-style `request` and `response` and a `time`; `exchanges export` writes such
    rows, and so do Helicone and many logs. Importing again adds what is missing. Rows that cannot be used are counted
    and written to FILE.refused.jsonl with their reason. Exit code 2: there were some.
    """
    loaded = load(config)
    plan = _plan(loaded, route, arm, _tags(tag or []), team)
    with keeper_of(loaded):  # makes the store where there is none
        pass
    layout = Layout(loaded.store_path)
    now = datetime.now(UTC)
    done: list[Imported] = []
    for file in files:
        aside = _Aside(file.with_name(f"{file.name}.refused.jsonl"))
        try:
            rows = _some(incoming(file, now), file)
            sealer = _sealer(loaded, layout)
            done.append(import_rows(layout, rows, plan, PriceAtHour(loaded), sealer, aside.write))
        finally:
            if aside.close():
                print(f"refused rows are in {aside.path}", file=sys.stderr)
    total = _total(done)
    if as_json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(total)).decode() + "\n")
    else:
        print(f"{total.imported:,} exchanges imported into route {route}; {total.known:,} were there already.")
        if total.cost_unknown:
            print(f"The cost of {total.cost_unknown:,} of them is unknown.")
        for reason, count in total.refused.items():
            print(f"{count:,} rows refused: {outside(reason)}")
    if total.refused:
        raise typer.Exit(ExitCode.UNDECIDED)


def _some(rows: Iterator[Incoming | Refused], file: Path) -> Iterator[Incoming | Refused]:
    """Raises `UsageError` for a file without rows."""
    first = next(rows, None)
    if first is None:
        raise UsageError(f"{file} is empty. Give JSON lines: one object with `request` and `response` a line.")
    yield first
    yield from rows


def _plan(loaded: Loaded, route: str, arm: str | None, tags: tuple[tuple[str, str], ...], team: str | None) -> Plan:
    section = next((one for one in loaded.config.route if one.name == route), None)
    if section is None:
        known = ", ".join(one.name for one in loaded.config.route) or "none"
        raise UsageError(f"--route {route}: {loaded.file} has no such route; it has {known}")
    capture = loaded.config.capture
    if not (capture.bodies and capture.purpose and capture.approved_by):
        raise UsageError(
            f"importing keeps prompts and answers: set bodies = true, purpose and approved_by in [capture] of "
            f"{loaded.file} first"
        )
    names = (section.incumbent, *section.candidates)
    if arm is not None and arm not in names:
        raise UsageError(f"--arm {arm}: route {route} has no such arm; it has {', '.join(names)}")
    found = [loaded.arm(name) for name in names]
    known_arms = [Target(arm=one.name, endpoint=one.endpoint, model=one.model) for one in found]
    return Plan(
        route=route,
        slice_by=section.slice_by,
        by_model=targets(known_arms),
        every=next((one for one in known_arms if one.arm == arm), None),
        tags=tags,
        team=team,
        redact=capture.redact,
        durability=loaded.config.store.durability,
    )


def _tags(given: list[str]) -> tuple[tuple[str, str], ...]:
    found = []
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name or name == TAG:
            raise UsageError(f"--tag {text}: write NAME=VALUE; the name {TAG!r} is taken")
        found.append((name, value))
    return tuple(found)


class PriceAtHour:
    """An arm's price at a moment; asked of the book once for each arm and hour, which is as fine as prices change."""

    def __init__(self, loaded: Loaded) -> None:
        self._at = cache(lambda arm, hour: self._look_up(loaded, arm, hour))

    def __call__(self, arm: str, time_ns: int) -> tuple[Price, str] | None:
        return self._at(arm, time_ns // _HOUR_NS)

    @staticmethod
    def _look_up(loaded: Loaded, arm: str, hour: int) -> tuple[Price, str] | None:
        section = loaded.arm(arm)
        moment = datetime.fromtimestamp(hour * 3600, UTC)
        answer = compile_price(section, loaded.endpoint(section.endpoint), moment)
        return (answer.price, answer.version) if isinstance(answer, PriceFound) else None


def _sealer(loaded: Loaded, layout: Layout) -> BodySealer:
    reference = loaded.config.capture.encrypt_key
    try:
        given = None if reference is None else secret(reference, loaded.folder).encode()
    except LookupError as error:
        raise StoreError(f"bodies cannot be encrypted: capture.encrypt_key: {error}") from None
    return BodySealer(layout, master_key(layout, given))


def _total(done: list[Imported]) -> Imported:
    refused: dict[str, int] = {}
    for one in done:
        for reason, count in one.refused.items():
            refused[reason] = refused.get(reason, 0) + count
    return Imported(
        imported=sum(one.imported for one in done),
        known=sum(one.known for one in done),
        refused=dict(sorted(refused.items(), key=lambda item: -item[1])),
        cost_unknown=sum(one.cost_unknown for one in done),
    )
