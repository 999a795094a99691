"""The root command: which commands there are, and what their errors mean to a shell."""

import importlib
import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any, cast

import typer
from typer.core import TyperGroup
from typer.main import get_command

from weighbridge import __version__
from weighbridge.cli.outside import outside
from weighbridge.errors import ExitCode, WeighbridgeError

INTERRUPTED = 130

COMMANDS = {
    "init": "init",
    "serve": "serve",
    "dashboard": "dashboard",
    "reload": "reload",
    "doctor": "doctor",
    "alerts": "alerts",
    "scan": "scan",
    "exchanges": "exchanges",
    "gold": "gold",
    "outcomes": "outcomes",
    "trial": "trial",
    "label": "label",
    "verdict": "verdict",
    "ramp": "ramp",
    "report": "report",
    "verify": "verify",
    "backup": "backup",
    "restore": "restore",
    "license": "license",
    "price": "price",
    "budget": "budget",
    "key": "key",
    "user": "user",
    "token": "token",
    "audit": "audit",
    "endpoint": "endpoint",
    "demo": "demo",
}
"""Command -> module of this package. A module has `app` (a group) or a function of the command's name."""

# Typer brings its own copy of click or uses the installed one, depending on its version: take what its errors are.
_CLICK_ERROR: type[Exception] = next(
    kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException" and issubclass(kind, Exception)
)


class LazyGroup(TyperGroup):
    """Loads a command's module when it is called (or when help lists them all)."""

    def __init__(self, **attributes: Any) -> None:  # the keywords are typer's, handed through
        super().__init__(**attributes)
        self.commands = cast("dict[str, Any]", dict.fromkeys(COMMANDS))

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name in COMMANDS and self.commands[cmd_name] is None:
            self.commands[cmd_name] = _loaded(cmd_name)
        return self.commands.get(cmd_name)


def _loaded(name: str) -> Any:
    module = importlib.import_module(f"weighbridge.cli.{COMMANDS[name]}")
    group = getattr(module, "app", None)
    if group is None:
        group = typer.Typer(add_completion=False)
        group.command(name)(getattr(module, name))
    command = get_command(group)
    command.name = name
    _read_as_markdown(command)
    return command


def _read_as_markdown(command: Any) -> None:
    """Help texts are docstrings: their line breaks are ours, not the reader's."""
    command.rich_markup_mode = "markdown"
    for inner in getattr(command, "commands", {}).values():
        _read_as_markdown(inner)


root = typer.Typer(
    cls=LazyGroup,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # its tracebacks show local variables, and those may hold keys and prompts
    rich_markup_mode="markdown",
    epilog="Start with `weighbridge init`, then `weighbridge serve`. Exit codes: 0 done or decided, "
    "2 undecided or needs attention, 1 failed, 64 usage.",
)


def _version(asked: bool) -> None:
    if asked:
        print(f"weighbridge {__version__}")
        raise typer.Exit


@root.callback()
def weighbridge(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """Move LLM traffic from closed APIs to open-weight models, with proof."""


def run(arguments: Sequence[str]) -> int:
    """Run one command; returns its exit code. Nothing that a person can mend ends in a traceback."""
    try:
        code = _run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader of our output left (`| head`). Python would complain once more while it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.FAILED
    return code


def _run(arguments: Sequence[str]) -> int:
    try:
        result = get_command(root).main(list(arguments), prog_name="weighbridge", standalone_mode=False)
    except WeighbridgeError as error:
        return _told(str(error), error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else ExitCode.FAILED
    except BrokenPipeError:
        raise
    except OSError as error:
        where = "" if error.filename is None else f": {error.filename}"
        return _told(f"{error.strerror or error}{where}", ExitCode.FAILED)
    except _CLICK_ERROR as error:
        cast("Any", error).show()
        return ExitCode.USAGE
    return result if isinstance(result, int) else ExitCode.DONE


def _told(message: str, code: int) -> int:
    print(f"weighbridge: {outside(message, lines=True)}", file=sys.stderr)
    return code
