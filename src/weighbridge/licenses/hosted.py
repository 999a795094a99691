"""Terms of hosted services: what a provider's contract says about outputs, customer data, retention, change.

All of them are reported, not read: they restrict, they never permit. They bind whoever calls the provider's API, which
is another question than the licence of the weights behind it.
"""

from functools import cache

from weighbridge.licenses import load
from weighbridge.licenses.model import Confidence, Record
from weighbridge.records.evidence import LicenseWord

PREFIX = "hosted:"


class Hosted(Record, frozen=True, kw_only=True):
    provider: str
    names: tuple[str, ...]
    """How it is called, lower case; a licensor of that name is this provider."""
    document: str
    training: LicenseWord
    """What it makes of training a model on the outputs."""
    outputs: str
    training_on_customer_data: str
    retention: str
    confidence: Confidence
    source: str
    when_competing: bool = False
    """`training` bars only models that compete with the provider."""
    dated: str | None = None
    change_notice: str | None = None
    law: str | None = None
    other: str | None = None


@cache
def providers() -> dict[str, Hosted]:
    """By id, e.g. `openai`."""
    file = load.FOLDER / "_hosted.toml"
    found = {name: load.parse(f"{file.name}: {name}", row, Hosted) for name, row in load.read_toml(file).items()}
    for name, row in found.items():
        if row.source not in load.sources():
            raise load.unknown_name(file.name, f"{name}.source", row.source, load.sources())
    return found


def find(name: str) -> str | None:
    """The id of the provider that `name` means: `hosted:openai`, `OpenAI`, `Moonshot AI`."""
    plain = name.strip().lower().removeprefix(PREFIX).strip()
    if plain in providers():
        return plain
    return next((ident for ident, row in providers().items() if plain in row.names), None)


def of_licensor(licensor: str) -> str | None:
    """The provider that the licensor of some weights is, if its terms are recorded."""
    plain = licensor.lower()
    names = ((len(name), ident) for ident, row in providers().items() for name in row.names if plain.startswith(name))
    return max(names, default=(0, None))[1] or next(
        (ident for ident, row in providers().items() if any(f"({name})" in plain for name in row.names)), None
    )
