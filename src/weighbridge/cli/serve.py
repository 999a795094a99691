"""`weighbridge serve`."""

import typer

from weighbridge.cli.options import DEFAULT_CONFIG, ConfigFile


def serve(config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Run the gateway: one supervisor, one keeper and the workers of `server.workers`.

    Clients change their base URL and key, nothing else. SIGTERM or Ctrl-C lets open requests finish, a second one cuts
    them; SIGHUP reads the configuration again, and a bad one changes nothing. What happens is logged to standard error,
    one line an event.
    """
    from weighbridge.app import serve as run
    from weighbridge.config import load

    raise typer.Exit(run(load(config)))
