"""Checks the shipped licence terms: every file parses, every reference leads somewhere, rules and readings agree.

Prints one line for each problem and exits 1; the tests use the same functions. `scripts/check` runs it.
"""

import sys
from collections.abc import Callable, Iterator

from weighbridge.errors import ConfigError
from weighbridge.licenses import catalogue, changes, channels, hosted, load
from weighbridge.licenses.reading import disagreements

Check = Callable[[], object]


def problems() -> Iterator[str]:
    tables: tuple[Check, ...] = (
        load.sources,
        hosted.providers,
        channels.channels,
        catalogue.models,
        catalogue.makers,
        changes.changes,
    )
    for table in tables:
        try:
            table()
        except ConfigError as error:
            yield str(error)
    for ident in load.ids():
        try:
            yield from disagreements(load.terms(ident))
        except ConfigError as error:
            yield str(error)


def main() -> int:
    found = list(problems())
    for line in found:
        print(line)
    if not found:
        counts = f"{len(load.ids())} licence texts, {len(catalogue.models())} models, {len(changes.changes())} changes"
        print(f"{counts}: sound")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
