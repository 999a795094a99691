"""A first configuration from what a scan found: a route for each application, its model, and open models to try.

What a file does not say is not made up: a model whose provider has no address of its own here (a cloud's resource, a
server in house) gets no endpoint, and its application is named as left out.
"""

import re
from importlib.resources import files
from pathlib import Path
from string import Template

import msgspec

from weighbridge.app.first import CLIENT, STORE, known_endpoint, name_of, write_first
from weighbridge.errors import UsageError
from weighbridge.ledger.providers import KnownProvider, known_providers
from weighbridge.scan.alternatives import Alternative
from weighbridge.scan.scan import Application, Scan
from weighbridge.scan.words import money, span

CANDIDATES_MAX = 4
"""Open models written for each route, the cheapest first."""


class Written(msgspec.Struct, frozen=True, kw_only=True):
    config: str
    routes: tuple[str, ...]
    endpoints: tuple[str, ...]
    key_variables: tuple[str, ...]
    """Environment variables that must hold the keys of the endpoints."""
    client_key: str | None
    """Shown once; `None` where the file was there already."""
    left_out: tuple[str, ...]
    """Applications without a route, one sentence each."""


class _Plan:
    """Endpoints and arms by their names, each once, in the order in which they are needed."""

    def __init__(self) -> None:
        self.endpoints: dict[str, KnownProvider] = {}
        self.arms: dict[str, str] = {}
        self.routes: dict[str, str] = {}
        self.aliases: set[str] = set()
        self.left_out: list[str] = []

    def arm(self, endpoint: str, provider: KnownProvider, model: str, more: str) -> str:
        """The name of an arm for a model at an endpoint; another name where two endpoints have the same model."""
        self.endpoints.setdefault(endpoint, provider)
        text = f"endpoint = {_quoted(endpoint)}\nmodel = {_quoted(model)}\n{more}"
        name, number = name_of(model), 1
        while self.arms.setdefault(name, text) != text:
            number += 1
            name = f"{name_of(model)}-{endpoint}" if number == 2 else f"{name_of(model)}-{number}"
        return name


def write_found(folder: Path, scan: Scan) -> Written:
    """Write `weighbridge.toml` and its store into a folder. Raises `UsageError` where there is one, or no route."""
    file = folder / "weighbridge.toml"
    if file.exists():
        raise UsageError(f"{file} exists and is not overwritten. Remove it, or give --init another folder.")
    plan = _Plan()
    for application in scan.applications:
        _add(plan, application)
    if not plan.routes:
        raise UsageError(f"--init: no application could be written: {' '.join(plan.left_out)}")
    text = files("weighbridge.app").joinpath("found.toml").read_text(encoding="utf-8")
    config = Template(text).substitute(
        store=STORE,
        client=CLIENT,
        endpoints="\n\n".join(
            f"[[endpoint]]\n{known_endpoint(name, provider, provider.key_variable)}"
            for name, provider in plan.endpoints.items()
        ),
        arms="\n\n".join(f"[[arm]]\nname = {_quoted(name)}\n{text}" for name, text in plan.arms.items()),
        routes="\n\n".join((*plan.routes.values(), *(f"# Left out: {why}" for why in plan.left_out))),
    )
    folder.mkdir(parents=True, exist_ok=True)
    _, _, secret = write_first(file, config)
    return Written(
        config=str(file),
        routes=tuple(plan.routes),
        endpoints=tuple(plan.endpoints),
        key_variables=tuple(dict.fromkeys(one.key_variable for one in plan.endpoints.values())),
        client_key=secret,
        left_out=tuple(plan.left_out),
    )


def _add(plan: _Plan, application: Application) -> None:
    name = "an application without a name" if application.name is None else application.name
    stay = application.alternatives[0]
    known = _known(stay.provider)
    if known is None or stay.model is None:
        where = stay.provider or "a provider that the files do not name"
        plan.left_out.append(
            _line(f"{name}: {stay.model} at {where}, whose address is not known; add an [[endpoint]].")
        )
        return
    incumbent = plan.arm(*known, stay.model, f"weights = {_quoted(known[1].weights)}" if known[1].weights else "")
    route, number = _slug(application.name), 1
    while route in plan.routes:
        number += 1
        route = f"{_slug(application.name)}-{number}"
    candidates, notes = _candidates(plan, application, incumbent)
    # A model name can lead to one route only: the dearest application that uses it.
    alias = stay.model if stay.model not in plan.aliases and stay.model != route else None
    plan.aliases.add(stay.model)
    lines = [
        f"# {_line(name)}: {money(application.cost_nanousd)} in the files."
        + "".join(f"\n#   {_line(note)}" for note in notes),
        "[[route]]",
        f"name = {_quoted(route)}",
        *(
            [f"aliases = [{_quoted(alias)}]          # so that changing the base URL and the key is enough"]
            if alias
            else []
        ),
        f"incumbent = {_quoted(incumbent)}",
        f"candidates = [{', '.join(map(_quoted, candidates))}]",
        'allow_regions = ["local"]        # e.g. ["us", "eu", "local"]; "any" lifts the bound',
        'allow_retention_days = 0         # a number of days, or "any"',
        'allow_training_on_data = false   # false, or "any"',
    ]
    plan.routes[route] = "\n".join(lines)


def _candidates(plan: _Plan, application: Application, incumbent: str) -> tuple[list[str], list[str]]:
    """Arms of the cheapest open models with an address, and what they would cost, for a comment."""
    names: list[str] = []
    notes: list[str] = []
    for one in _cheapest(application):
        known = _known(one.provider)
        if known is None or one.model is None or len(names) == CANDIDATES_MAX:
            continue
        name = plan.arm(*known, one.model, 'weights = "open"')
        if name != incumbent and name not in names:
            names.append(name)
            notes.append(f"{one.title}: {span(one.cost_nanousd)}")
    return names, notes


def _cheapest(application: Application) -> list[Alternative]:
    """Open models by API with a known cost below today's, each at its cheapest host."""
    now = application.cost_nanousd
    found = [
        one
        for one in application.alternatives
        if one.kind == "open_api"
        and one.cost_nanousd.value is not None
        and (now is None or one.cost_nanousd.value < now)
    ]
    return sorted(found, key=lambda one: one.cost_nanousd.value or 0.0)


def _known(price_book: str | None) -> tuple[str, KnownProvider] | None:
    return next(((name, one) for name, one in known_providers().items() if one.price_book == price_book), None)


def _slug(name: str | None) -> str:
    return re.sub(r"[^a-z0-9._-]+", "-", (name or "").lower()).strip("-.")[:60] or "application"


def _line(text: str) -> str:
    """One line for a comment: names come from files."""
    return "".join(char if char.isprintable() else " " for char in text)[:300]


def _quoted(text: str | None) -> str:
    """A TOML basic string; JSON's escapes are among TOML's, but for one character that JSON leaves as it is."""
    return msgspec.json.encode(text or "").decode().replace("\x7f", "\\u007f")
