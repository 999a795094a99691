"""The page of the ramp's benchmark, in two parts that are measured apart: the pure controller, and a real gateway.

Runs through a real gateway are kept beside the page as they were measured, cell by cell, so that one cell can be
measured anew; the page is made of them. There is no other writer.
"""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec

HEAD = "## Through a real gateway"
SHARE = {"few": "5%", "quarter": "25%"}


class Run(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One ramp through a real gateway."""

    requests: int | None
    """Of users that the candidate was asked, from the fault to the decision; `None`: it did not go back."""
    seen: int
    """The same until the run ended, where it did not go back."""
    per_s: float
    """Requests of all users a second."""
    stream: str = ""
    """What found it."""
    late_s: float = 0.0
    """From the decision to the last request that still went to the candidate."""


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """Runs with one fault at one stage."""

    name: str
    stage: Literal["few", "quarter"]
    on: str
    """The day on which it was measured."""
    runs: tuple[Run, ...]

    def line(self) -> str:
        """Its row of the table."""
        each = ", ".join(
            f"none in {run.seen:,}" if run.requests is None else f"{run.requests:,}" for run in self.runs
        )  # fmt: skip
        known = [run.requests for run in self.runs if run.requests is not None]
        median = f"{statistics.median(known):,.0f}" if len(known) == len(self.runs) else "-"
        by = ", ".join(sorted({run.stream for run in self.runs if run.stream})) or "-"
        late = f"{max(run.late_s for run in self.runs):.1f} s" if known else "-"
        pace = statistics.median(run.per_s for run in self.runs)
        return f"| {self.name} | {SHARE[self.stage]} | {each} | {median} | {by} | {late} | {pace:,.0f} |"


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """The file beside the page."""

    cells: tuple[Cell, ...] = ()


class Page:
    """`about` says what ran, in front of the table."""

    def __init__(self, path: Path, about: Sequence[str]) -> None:
        self._path, self._file, self._about = path, path.with_name(f"{path.stem}-live.json"), tuple(about)

    def keep(self, cell: Cell, order: Sequence[str]) -> None:
        """A cell that was measured: in place of the one of before. `order`: faults by name, as the page has them."""
        cells = {(one.name, one.stage): one for one in self._kept().cells if one.name in order}
        cells[cell.name, cell.stage] = cell
        rows = tuple(sorted(cells.values(), key=lambda one: (order.index(one.name), one.stage)))
        text = msgspec.json.format(msgspec.json.encode(Kept(cells=rows)), indent=1)
        self._file.write_bytes(text + b"\n")
        self.write(None)

    def write(self, pure: Sequence[str] | None) -> None:
        """`pure`: the part of the controller alone; `None` keeps the one that is there."""
        before = self._path.read_text() if self._path.exists() else ""
        first = before.partition(HEAD)[0] if pure is None else "\n".join(pure)
        self._path.write_text("\n".join([first.rstrip(), "", *self._live(), ""]))

    def _kept(self) -> Kept:
        return msgspec.json.decode(self._file.read_bytes(), type=Kept) if self._file.exists() else Kept()

    def _live(self) -> list[str]:
        cells = self._kept().cells
        days = sorted({cell.on for cell in cells})
        if not cells:
            return []
        return [
            HEAD, "", *self._about, "",
            f"Measured {days[0] if len(days) == 1 else f'{days[0]} to {days[-1]}'}; every run is in "
            f"`{self._file.name}` beside this page.", "",
            "| injected | at | candidate requests until it went back, each run | median | found by | last | requests "
            "a second |",
            "|---|---|---|---|---|---|---|",
            *(cell.line() for cell in cells),
        ]  # fmt: skip
