"""The scan of one's own log: the same as of usage files, from what went through the gateway in the last weeks."""

import csv
import tempfile
import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import msgspec

from weighbridge.admin.pages.sources import Sources
from weighbridge.errors import UsageError
from weighbridge.licenses import profile
from weighbridge.scan.page import short_of, top_of
from weighbridge.scan.scan import Scan, scan

DAYS = 28
KEPT_S = 600
_COLUMNS = (
    "time", "application", "provider", "model", "requests", "input_tokens", "cached_input_tokens", "cache_write_tokens",
    "output_tokens", "cost_usd",
)  # fmt: skip


class OwnScan(msgspec.Struct, frozen=True, kw_only=True):
    scan: Scan | None
    """`None`: there is nothing to scan; `why` says why."""
    top: str
    short: tuple[str, ...]
    why: str
    days: int
    not_known: tuple[str, ...]
    """Arms that the configuration does not have any more: their traffic is left out."""


class OwnScans:
    """Scans are kept for some minutes: prices and licences are looked up for each."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: dict[tuple[str, ...] | None, tuple[int, OwnScan]] = {}

    def of(self, sources: Sources, now_ns: int, teams: Sequence[str] | None) -> OwnScan:
        """teams: only what belongs to them; `None`: all."""
        with self._lock:
            loaded = sources.loaded
            mark = None if teams is None else tuple(teams)
            kept = self._kept.get(mark)
            if kept is not None and now_ns - kept[0] < KEPT_S * 1_000_000_000:
                return kept[1]
            arms = {arm.name: (arm.model, loaded.endpoint(arm.endpoint).provider or "") for arm in loaded.config.arm}
            now = datetime.fromtimestamp(now_ns // 1_000_000_000, UTC)
            with sources.daily().cursor() as sql:
                rows = sql.execute(
                    "SELECT day, route, arm, sum(requests)::BIGINT, sum(fresh + cache_read + cache_write)::BIGINT, "
                    "sum(cache_read)::BIGINT, sum(cache_write)::BIGINT, sum(output)::BIGINT, "
                    "CASE WHEN sum(unknown) = 0 THEN sum(cost_nanousd)::BIGINT END FROM daily "
                    "WHERE purpose = 'user' AND day >= ? AND arm IS NOT NULL AND tokens > 0 "
                    "AND (? OR list_contains(?::VARCHAR[], team)) GROUP BY ALL ORDER BY ALL",
                    [(now - timedelta(days=DAYS - 1)).date(), teams is None, list(teams or ())],
                ).fetchall()
            missing = tuple(sorted({str(row[2]) for row in rows if row[2] not in arms}))
            found = _scanned(
                [
                    (day, route, arms[arm][1], arms[arm][0], *figures, _dollars(cost))
                    for day, route, arm, *figures, cost in rows
                    if arm in arms
                ],
                sources, now, missing,
            )  # fmt: skip
            self._kept[mark] = (now_ns, found)
            return found


def _scanned(rows: list[tuple[object, ...]], sources: Sources, now: datetime, missing: tuple[str, ...]) -> OwnScan:
    if not rows:
        return OwnScan(
            scan=None, top="", short=(), days=DAYS, not_known=missing,
            why=f"no user request with token counts went through the gateway in the last {DAYS} days",
        )  # fmt: skip
    loaded = sources.loaded
    with tempfile.TemporaryDirectory(prefix="weighbridge-scan-") as folder:
        path = Path(folder) / "exchange-log.csv"
        with path.open("w", encoding="utf-8", newline="") as out:
            writer = csv.writer(out)
            writer.writerow(_COLUMNS)
            writer.writerows(rows)
        try:
            made = scan([path], now, profile=profile(loaded.config.organization, loaded.file))
        except UsageError as error:
            return OwnScan(scan=None, top="", short=(), days=DAYS, not_known=missing, why=str(error))
    return OwnScan(scan=made, top=top_of(made), short=tuple(short_of(made)), why="", days=DAYS, not_known=missing)


def _dollars(nanousd: int | None) -> str:
    """As a usage file states it; empty where it is unknown."""
    return "" if nanousd is None else f"{Decimal(nanousd) / 10**9:f}"
