"""`weighbridge init`."""

import json
from typing import Annotated

import msgspec
import typer

from weighbridge.cli.options import DEFAULT_CONFIG, ConfigFile, Json


def init(
    config: ConfigFile = DEFAULT_CONFIG,
    provider: Annotated[
        str | None,
        typer.Option(help="A provider that is known by name: openai, together, fireworks, groq, deepseek, ..."),
    ] = None,
    base_url: Annotated[
        str | None,
        typer.Option(help="An address of your own that speaks the OpenAI chat dialect, instead of a provider."),
    ] = None,
    model: Annotated[str | None, typer.Option(help="The model in use now, as the upstream knows it.")] = None,
    key_env: Annotated[
        str | None, typer.Option(help="The environment variable that holds the upstream's API key.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a commented configuration, create the store and a first client key.

    Nothing that exists is overwritten. What is known of the provider (data retention, training) is filled in with its
    source and date; check it against your own contract. The client key is shown once and kept in a file that only you
    can read.
    """
    from weighbridge.app.first import Upstream, first_run

    made = first_run(config, Upstream(provider=provider, base_url=base_url, model=model, key_variable=key_env))
    if as_json:
        print(json.dumps(msgspec.to_builtins(made), indent=2))
        return
    print(f"wrote {made.config}, with comments; read it once")
    print(f"made the store {made.store}, private to you")
    if made.client_key is None:
        print(f"kept the client key in {made.client_key_file}")
    else:
        print(f"made a client key, shown this once (and kept in {made.client_key_file}):\n\n    {made.client_key}\n")
    print("next:")
    if made.upstream_key_variable:
        print(f"  export {made.upstream_key_variable}=...    # the key of your provider")
    print("  weighbridge doctor")
    print("  weighbridge serve")
    print(f"then send requests for model {made.route!r} to http://127.0.0.1:8400/v1 with that client key")
