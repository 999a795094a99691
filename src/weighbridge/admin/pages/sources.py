"""What pages read from: the configuration, the route table in force, the log, the signed objects, and the keeper."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from weighbridge.config import Loaded, load, secret
from weighbridge.errors import ControlError, WeighbridgeError
from weighbridge.exchanges.bodystore import BodyReader
from weighbridge.exchanges.chain import Chain, Snapshot
from weighbridge.exchanges.kept import KeptRelation
from weighbridge.exchanges.keys import find_master_key
from weighbridge.ledger.daily import Daily
from weighbridge.ledger.share import OpenShare
from weighbridge.records.ramp import RampStatus
from weighbridge.records.table import RouteTable
from weighbridge.reports.load import table_of
from weighbridge.store.control import ControlClient, RampAnswer, RampShow, ShowBudgets, Standings
from weighbridge.store.layout import Layout

CALL_S_MAX = 30.0


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What the keeper says; `why` where it says nothing."""

    ramps: tuple[RampStatus, ...] | None
    standings: Standings | None
    why: str | None = None


class Sources:
    """One store, read-only but for what `keeper` is asked to do. Thread-safe."""

    def __init__(self, file: str | Path) -> None:
        self._file = Path(file)
        self._loaded = load(self._file)
        self._stamp = self._stat()
        self._lock = threading.Lock()
        self.layout = Layout(self._loaded.store_path)
        self._chain = Chain(self.layout)
        self._kept = KeptRelation(self.layout)
        self._daily = Daily(self._kept)
        self._share = OpenShare(self._daily)
        self.problem: str | None = None
        """What is wrong with the configuration file since it was last read in order; what stood before goes on."""

    def close(self) -> None:
        self._kept.close()

    def _stat(self) -> tuple[int, int]:
        found = self._file.stat()
        return found.st_mtime_ns, found.st_size

    @property
    def loaded(self) -> Loaded:
        """The configuration as the file says it now."""
        with self._lock:
            try:
                stamp = self._stat()
                if stamp != self._stamp:
                    self._loaded, self._stamp, self.problem = load(self._file), stamp, None
            except (WeighbridgeError, OSError) as error:
                self.problem = str(error)
            return self._loaded

    @property
    def table(self) -> RouteTable:
        """The route table in force. Raises `WeighbridgeError` where there is none."""
        if not self.layout.table.exists():
            raise WeighbridgeError("no route table was published in this store yet; `weighbridge serve` publishes one")
        return table_of(self.layout)

    def chain(self) -> Snapshot:
        return self._chain.snapshot()

    def daily(self) -> Daily:
        """Sums by day, as of now. Raises `Corrupt`, `StoreError`."""
        self._daily.refresh()
        return self._daily

    def share(self) -> OpenShare:
        """The open share, as of now. Raises `Corrupt`, `StoreError`."""
        self._daily.refresh()
        return self._share

    def kept(self) -> KeptRelation:
        """The log as a relation, as of now. Raises `Corrupt`."""
        self._kept.refresh()
        return self._kept

    def bodies(self) -> BodyReader | None:
        """`None` where nothing was ever captured. Raises `WeighbridgeError` where the key cannot be read."""
        reference = self.loaded.config.capture.encrypt_key
        try:
            given = None if reference is None else secret(reference, self.loaded.folder).encode()
        except LookupError as error:
            raise WeighbridgeError(f"captured bodies cannot be read: capture.encrypt_key: {error.args[0]}") from None
        master = find_master_key(self.layout, given)
        return None if master is None else BodyReader(self.layout, master)

    @contextmanager
    def keeper(self) -> Iterator[ControlClient]:
        """Raises `ControlError` where none answers."""
        with ControlClient(self.layout, timeout_s=CALL_S_MAX) as control:
            yield control

    def told(self) -> Told:
        """Ramps and budgets as the keeper has them. Never raises: a page without it says so."""
        try:
            with self.keeper() as control:
                ramps = control.call(RampShow(), RampAnswer).ramps
                standings = control.call(ShowBudgets(), Standings)
        except ControlError as error:
            return Told(ramps=None, standings=None, why=str(error))
        return Told(ramps=ramps, standings=standings)
