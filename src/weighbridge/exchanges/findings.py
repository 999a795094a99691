"""What a verification says: problems by place, and how much it looked at."""

from pathlib import Path

import msgspec

from weighbridge.exchanges.framing import Corrupt
from weighbridge.store.layout import Layout


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """`where` is a path relative to the store, with `:OFFSET` where one is known, or the id of an exchange."""

    where: str
    what: str


class Counts(msgspec.Struct, kw_only=True):
    chain_lines: int = 0
    segments: int = 0
    frames: int = 0
    exchanges: int = 0
    exchanges_lost: int = 0
    """Without an end: their worker was gone before it could be written."""
    unsigned_bytes: int = 0
    """In open segments, past the last signed checkpoint: checksummed, but not yet signed."""
    torn_tails: int = 0
    """Segments that end in a write that a crash cut; it was never acknowledged."""
    bodies: int = 0
    bodies_erased: int = 0
    bodies_retired: int = 0
    bodies_lost: int = 0
    """Gone with the machine before they were synced."""
    bodies_checked: bool = False
    """Were bodies decrypted and held against their commitments? It takes the master key."""
    databases: int = 0
    """Of the keeper, each page held against its checksum."""
    objects: int = 0
    verdicts: int = 0
    pairs: int = 0
    """Of evidence, each held against the log."""
    pairs_retired: int = 0
    """Of evidence, on exchanges whose rows are past their days: no longer checkable."""


class VerifyReport(msgspec.Struct, frozen=True, kw_only=True):
    ok: bool
    problems: tuple[Problem, ...]
    counts: Counts
    notes: tuple[str, ...] = ()
    signing_key: str | None = None
    """The public key that signatures were held against, 64 hex digits."""

    @property
    def summary(self) -> str:
        """One sentence: `intact`, what is missing on purpose, or how many problems."""
        if not self.ok:
            return f"not intact: {_many(len(self.problems), 'problem')}"
        counts = self.counts
        gone = [
            f"{_many(counts.bodies_erased, 'body', 'bodies')} erased" if counts.bodies_erased else "",
            f"{_many(counts.bodies_retired, 'body', 'bodies')} past their days" if counts.bodies_retired else "",
            f"{_many(counts.bodies_lost, 'body', 'bodies')} lost with the machine" if counts.bodies_lost else "",
        ]
        return ", ".join(["intact", *filter(None, gone)])


def _many(count: int, one: str, more: str | None = None) -> str:
    return f"{count:,} {one if count == 1 else more or one + 's'}"


class Findings:
    """Collects problems; places are made relative to the store."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self.problems: list[Problem] = []
        self.notes: list[str] = []
        self.signing_key: str | None = None
        self.counts = Counts()

    def problem(self, where: str | Path, what: str, offset: int | None = None) -> None:
        place = self.place(where)
        self.problems.append(Problem(where=place if offset is None else f"{place}:{offset}", what=what))

    def corrupt(self, damage: Corrupt) -> None:
        self.problem(damage.file, damage.what, damage.offset)

    def place(self, where: str | Path) -> str:
        path = Path(where)
        return path.relative_to(self._layout.root).as_posix() if path.is_relative_to(self._layout.root) else str(where)

    def report(self) -> VerifyReport:
        return VerifyReport(
            ok=not self.problems, problems=tuple(self.problems), counts=self.counts, notes=tuple(self.notes),
            signing_key=self.signing_key,
        )  # fmt: skip
