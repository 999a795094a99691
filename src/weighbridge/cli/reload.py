"""`weighbridge reload`."""

import json as json_

import msgspec

from weighbridge.cli.options import DEFAULT_CONFIG, ConfigFile, Json
from weighbridge.config import load
from weighbridge.store.control import ControlClient, Reload, TableNumber
from weighbridge.store.layout import Layout


class Reloaded(msgspec.Struct, frozen=True, kw_only=True):
    """The JSON of `reload --json`."""

    route_table: int
    """The table that every worker goes on with; its number stays where nothing changed."""


def reload(json: Json = False, config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Let a running `serve` read its configuration and certificates again, as SIGHUP does, and say how it went.

    Open requests go on. A configuration that cannot be served changes nothing: the reason is printed, exit code 1 or
    64.
    """
    loaded = load(config)
    with ControlClient(Layout(loaded.store_path)) as control:
        done = Reloaded(route_table=control.call(Reload(), TableNumber).number)
    if json:
        print(json_.dumps(msgspec.to_builtins(done)))
    else:
        print(f"reloaded: route table {done.route_table} is current")
