"""The one place that knows file names under the store's folder."""

from pathlib import Path


class Layout:
    """Paths under one store. Nothing is created here; `create()` makes the folders, private to the user (0700)."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.lock = root / "keeper.lock"
        self.control = root / "control.sock"
        self.database = root / "keeper.db"
        self.ledger = root / "ledger.db"
        self.site = root / "site"
        self.signing_key = root / "keys" / "signing.key"
        self.signing_public = root / "keys" / "signing.pub"
        self.master_key = root / "keys" / "master.key"
        self.table = root / "tables" / "current.json"
        self.table_last_good = root / "tables" / "last-good.json"
        self.table_override = root / "tables" / "override.json"
        self.chain = root / "log" / "chain.jsonl"
        self.open_log = root / "log" / "open"
        self.sealed_log = root / "log" / "sealed"
        self.rows = root / "log" / "rows"
        self.bodies = root / "bodies"
        self.open_bodies = root / "bodies" / "open"
        self.objects = root / "objects"
        self.trials = root / "trials"
        self.run = root / "run"
        self.rates = root / "run" / "rates"
        self.snapshots = root / "snapshots"
        """A backup that is being taken lies here, as links and copies."""
        self.restoring = root / "restoring"
        """While it is there, a restore is not finished and nobody may use the store."""
        self.alerts = root / "alerts.jsonl"
        self.alerts_old = root / "alerts.old.jsonl"
        self.daily = root / "run" / "daily"
        self.told = root / "run" / "told"

    def folders(self) -> tuple[Path, ...]:
        return (
            self.root, self.signing_key.parent, self.table.parent, self.open_log, self.sealed_log, self.rows,
            self.open_bodies, self.objects, self.trials, self.run,
        )  # fmt: skip

    def create(self) -> None:
        for folder in self.folders():
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def segment(self, incarnation: str, number: int) -> Path:
        """An unsealed segment of frames."""
        return self.open_log / f"{incarnation}-{number:06d}.wbx"

    def sealed(self, incarnation: str, number: int) -> Path:
        return self.sealed_log / f"{incarnation}-{number:06d}.wbx.zst"

    def parquet(self, incarnation: str, number: int) -> Path:
        return self.rows / f"{incarnation}-{number:06d}.parquet"

    def open_body_segment(self, incarnation: str, number: int) -> Path:
        return self.open_bodies / f"{incarnation}-{number:06d}.wbb"

    def body_folder(self, day: str, team: str) -> Path:
        """Sealed body objects of one day and team, with their wrapped key."""
        return self.bodies / day / team

    def object(self, digest: str) -> Path:
        return self.objects / digest

    def trial(self, trial: str) -> Path:
        return self.trials / trial
