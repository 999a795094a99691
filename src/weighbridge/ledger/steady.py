"""The ledger's time: what the wall clock says, but for steps that nobody can have lived through.

Windows open by the clock of the database. A clock that is set forward by mistake must not hand out the money of
tomorrow, one that is set back must not hand out today's again. So the wall is compared with a clock that only counts
(it goes on while the machine sleeps): a step that the two do not share is not followed until it has stood for an hour.
Time never goes back.
"""

import time
from pathlib import Path

import msgspec

NS = 1_000_000_000
STEP_NS = 2 * NS
"""What the two clocks may differ at once."""
DRIFT_PPM = 500
"""How much faster or slower than the wall the counting clock may run (crystals and NTP stay below)."""
CONFIRM_NS = 3600 * NS
"""How long a step must stand before it is believed."""


class Anchor(msgspec.Struct, frozen=True):
    """Both clocks at one moment. `boot` names the start of the machine since which `steady_ns` counts."""

    wall_ns: int
    steady_ns: int
    boot: str


def steady_ns() -> int:
    """Nanoseconds since the machine started, time asleep included."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


class LedgerClock:
    """`now_ns(wall_ns, steady_ns)` is the ledger's time. Start it with what was remembered, to survive a restart."""

    def __init__(self, boot: str, remembered: Anchor | None = None, last_ns: int = 0) -> None:
        same_boot = remembered is not None and boot != "" and remembered.boot == boot
        self._boot = boot
        self._anchor = remembered if same_boot else None
        self._last_ns = last_ns
        self._suspect: tuple[int, int] | None = None
        """A step that is not believed yet: how far, and since when by the counting clock."""

    @property
    def anchor(self) -> Anchor | None:
        return self._anchor

    @property
    def step_ns(self) -> int:
        """How far the wall is ahead of the ledger's time (behind: negative), where it is not followed; else 0."""
        return 0 if self._suspect is None else self._suspect[0]

    def now_ns(self, wall_ns: int, steady_ns: int) -> int:
        anchor = self._anchor
        if anchor is None:
            self._follow(wall_ns, steady_ns)
            now_ns = wall_ns
        else:
            elapsed = max(0, steady_ns - anchor.steady_ns)
            expected = anchor.wall_ns + elapsed
            step = wall_ns - expected
            tolerance = STEP_NS + elapsed * DRIFT_PPM // 1_000_000
            if abs(step) <= tolerance or self._has_stood(step, steady_ns):
                self._follow(wall_ns, steady_ns)
                now_ns = wall_ns
            else:
                now_ns = expected
        self._last_ns = max(self._last_ns, now_ns)
        return self._last_ns

    def _follow(self, wall_ns: int, steady_ns: int) -> None:
        self._anchor = Anchor(wall_ns, steady_ns, self._boot)
        self._suspect = None

    def _has_stood(self, step_ns: int, steady_ns: int) -> bool:
        suspect = self._suspect
        if suspect is None or abs(suspect[0] - step_ns) > STEP_NS:
            self._suspect = (step_ns, steady_ns)
            return False
        return steady_ns - suspect[1] >= CONFIRM_NS
