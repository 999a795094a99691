"""The dashboard put together: sources, sessions, pages."""

import time
from collections.abc import Collection
from pathlib import Path

from starlette.applications import Starlette

from weighbridge.admin.pages.labelling import LABELS, Labellings
from weighbridge.admin.pages.shell import Dashboard
from weighbridge.admin.pages.sources import Sources
from weighbridge.admin.pages.table import PAGES
from weighbridge.admin.sessions import Sessions
from weighbridge.admin.site import Site


def board_of(file: str | Path, *, labels: int = LABELS, live_s: float = 2.0) -> Dashboard:
    """Everything that pages read. Raises `WeighbridgeError` where the configuration cannot be read."""
    sources = Sources(file)
    return Dashboard(sources, Labellings(sources, time.time_ns, labels), live_s=live_s)


def dashboard(board: Dashboard, sessions: Sessions, hosts: Collection[str], first: str = "/") -> Starlette:
    """first: where a person lands who has signed in. hosts: `HOST:PORT` as browsers may write it."""
    return Site(board, sessions, first).app(PAGES, hosts)
