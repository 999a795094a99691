"""What the dashboard's pages read from, put together."""

import time
from pathlib import Path

from weighbridge.admin.pages.labelling import LABELS, Labellings
from weighbridge.admin.pages.shell import Dashboard
from weighbridge.admin.pages.sources import Sources


def board_of(file: str | Path, *, labels: int = LABELS, live_s: float = 2.0) -> Dashboard:
    """Everything that pages read. Raises `WeighbridgeError` where the configuration cannot be read."""
    sources = Sources(file)
    return Dashboard(sources, Labellings(sources, time.time_ns, labels), live_s=live_s)
