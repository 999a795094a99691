"""The command line: one file per command, each parses, calls one function, prints.

`main` is the only place that turns errors into exit codes: 0 done or decided, 2 undecided or needs attention, 1 failed,
64 usage. A command is loaded when it is called, so that `serve` does not wait for the libraries of `report`.
"""

import sys

from weighbridge.cli.root import run


def main() -> None:
    """The `weighbridge` command."""
    sys.exit(run(sys.argv[1:]))
