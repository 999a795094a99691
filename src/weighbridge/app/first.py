"""The first run: a commented configuration, the store's folders, its signing key and a first client key."""

import os
import secrets
from importlib.resources import files
from pathlib import Path
from string import Template

import msgspec

from weighbridge.config import loads
from weighbridge.errors import StoreError, UsageError
from weighbridge.exchanges.chain import signing_key
from weighbridge.ledger.providers import KnownProvider, known_providers
from weighbridge.records.table import Weights
from weighbridge.store.files import write_durably
from weighbridge.store.layout import Layout

CLIENT = "app"
STORE = "weighbridge-data"


class Upstream(msgspec.Struct, frozen=True, kw_only=True):
    """Where the incumbent is called: a known provider, or an address of one's own."""

    provider: str | None = None
    base_url: str | None = None
    model: str | None = None
    key_variable: str | None = None


class Made(msgspec.Struct, frozen=True, kw_only=True):
    config: str
    store: str
    client_key_file: str
    client_key: str | None
    """Shown once; `None` where the file was there already."""
    upstream_key_variable: str | None
    route: str


def first_run(file: Path, upstream: Upstream) -> Made:
    """Write what is missing; nothing that exists is overwritten.

    Raises `UsageError` where the configuration exists already or the upstream is not understood, `StoreError` where the
    store cannot be written.
    """
    if file.exists():
        raise UsageError(
            f"{file} exists, and init never overwrites. Edit it, remove it, or name another file with --config."
        )
    text = config_text(upstream)
    store, secret_file, secret = write_first(file, text.config)
    return Made(
        config=str(file),
        store=store,
        client_key_file=secret_file,
        client_key=secret,
        upstream_key_variable=text.upstream_key_variable,
        route=ROUTE,
    )


def write_first(file: Path, config: str) -> tuple[str, str, str | None]:
    """Write a first configuration, its store, signing key and client key: (store, file of the key, the key if made)."""
    folder = file.resolve().parent
    layout = Layout(folder / STORE)
    loads(config, file=str(file), folder=folder)  # what is written must load
    try:
        layout.create()
        signing_key(layout)
        secret_file = layout.root / "keys" / f"{CLIENT}.key"
        secret = _first_client_key(secret_file)
        write_durably(file, config.encode(), 0o644)
    except OSError as error:
        raise StoreError(f"{error.filename or folder} cannot be written: {error.strerror}") from None
    return str(layout.root), str(secret_file), secret


def _first_client_key(path: Path) -> str | None:
    secret = f"wb-{secrets.token_urlsafe(32)}"
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return None
    with os.fdopen(fd, "w") as file:
        file.write(secret + "\n")
    return secret


class Text(msgspec.Struct, frozen=True):
    config: str
    upstream_key_variable: str | None
    """The variable that must hold the upstream's key."""


ROUTE = "assistant"


def config_text(upstream: Upstream) -> Text:
    """The commented configuration. Raises `UsageError` where the upstream is not understood."""
    variable: str | None
    weights: Weights | None
    if upstream.base_url is None:
        known = known_providers()
        name = upstream.provider or "openai"
        if name not in known:
            raise UsageError(f"--provider {name!r} is not known; known are {', '.join(known)}, or give --base-url")
        provider = known[name]
        model = upstream.model or provider.example
        variable = upstream.key_variable or provider.key_variable
        endpoint = known_endpoint(name, provider, variable)
        weights = provider.weights
    else:
        if upstream.model is None:
            raise UsageError("--base-url needs --model: the name that this server knows its model by")
        name, model, variable, weights = upstream.provider or "upstream", upstream.model, upstream.key_variable, None
        endpoint = _own_endpoint(name, upstream.base_url, variable, upstream.provider)
    arm = name_of(model)
    template = files("weighbridge.app").joinpath("first.toml").read_text(encoding="utf-8")
    text = Template(template).substitute(
        endpoint=endpoint,
        endpoint_name=name,
        arm=arm,
        model=model,
        weights=f'weights = "{weights}"' if weights else '#weights = "closed"',
        client=CLIENT,
        store=STORE,
        route=ROUTE,
    )
    return Text(text, variable)


def name_of(model: str) -> str:
    """An arm's name from a model's: the last part of its path."""
    return (
        "".join(char if char.isalnum() or char in "._-:" else "-" for char in model.rpartition("/")[2]) or "incumbent"
    )


def known_endpoint(name: str, provider: KnownProvider, variable: str) -> str:
    """The keys of an `[[endpoint]]`, with what is recorded of the provider's data terms."""
    facts = {
        "region": provider.region,
        "retention_days": provider.retention_days,
        "trains_on_data": provider.trains_on_data,
    }
    lines = [
        f'name = "{name}"',
        'dialect = "openai"               # openai | openai-responses | anthropic',
        f'base_url = "{provider.base_url}"',
        f'api_key = "env:{variable}"',
        f'provider = "{provider.price_book}"              # id in the price book; without it the cost is unknown',
        f"# From {provider.source} (read {provider.read}):",
        f"# {provider.note}.",
        "# Check it against your own contract; what is absent is unknown, and unknown is refused to candidates.",
        *(
            f"{key} = {_toml(value)}" if value is not None else f"#{key} = {_EXAMPLES[key]}"
            for key, value in facts.items()
        ),
        '#agreement = "DPA 2026-03-01"    # free text, shown in the report',
    ]
    return "\n".join(lines)


_EXAMPLES = {
    "region": '"us"                   # as your contract says',
    "retention_days": "30",
    "trains_on_data": "false",
}


def _own_endpoint(name: str, base_url: str, variable: str | None, provider: str | None) -> str:
    key = (
        f'api_key = "env:{variable}"'
        if variable
        else '#api_key = "env:UPSTREAM_API_KEY"   # or file:PATH; none is sent without it'
    )
    book = (
        f'provider = "{provider}"'
        if provider
        else '#provider = "openai"              # id in the price book; without it state the price of each arm'
    )
    return "\n".join(
        (
            f'name = "{name}"',
            'dialect = "openai"               # openai | openai-responses | anthropic',
            f'base_url = "{base_url}"',
            key,
            book,
            '#region = "eu"                   # absent = unknown, and unknown is refused to candidates',
            "#retention_days = 0",
            "#trains_on_data = false",
        )
    )


def _toml(value: str | int | bool) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f'"{value}"' if isinstance(value, str) else str(value)
