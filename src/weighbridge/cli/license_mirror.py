"""`weighbridge license mirror`: keep licence texts and weights by sha256, and check them later."""

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import typer

from weighbridge.cli.license_watch import OnDay, day_of, write
from weighbridge.cli.options import Json
from weighbridge.errors import ExitCode, UsageError
from weighbridge.licenses import hub, mirror
from weighbridge.licenses.resolve import by_file
from weighbridge.licenses.shown import fetch

MIRROR_EXAMPLES = (
    "Examples: `weighbridge license mirror Kimi-K3 --license models/k3/LICENSE --weights models/k3`, "
    "`weighbridge license mirror Kimi-K3 --license hf:moonshotai/Kimi-K3`, `weighbridge license mirror --check`."
)
DEFAULT_MIRROR = Path("weighbridge-mirror")


def mirror_(
    model: Annotated[str | None, typer.Argument(metavar="MODEL", help="The model that the files belong to.")] = None,
    license_: Annotated[
        list[str] | None,
        typer.Option("--license", metavar="FILE|URL|hf:REPO", help="A licence or policy text; may repeat."),
    ] = None,
    weights: Annotated[
        list[Path] | None, typer.Option("--weights", metavar="FILE|DIR", help="Also keep these weights; may repeat.")
    ] = None,
    to: Annotated[Path, typer.Option("--to", metavar="DIR", help="The mirror's folder.")] = DEFAULT_MIRROR,
    checking: Annotated[bool, typer.Option("--check", help="Read every kept file again; copy nothing.")] = False,
    on: OnDay = None,
    json: Json = False,
) -> None:
    """Copy licence texts, and weights if you like, into a folder by sha256 with a manifest; verify it with --check.

    Exit code 1 with --check: a file is missing, changed or in no list.
    """
    if checking:
        if model is not None or license_ or weights:
            raise UsageError("--check reads the whole mirror; leave MODEL, --license and --weights out")
        found = mirror.check(to, lambda name: print(f"weighbridge: reading {name}", file=sys.stderr))
        if json:
            write(found)
        else:
            for fault in found.faults:
                print(f"WRONG: {fault.sentence}")
            state = "intact" if found.ok else f"{len(found.faults)} faults"
            print(f"{to}: {found.files} files of {found.models} models, {found.bytes:,} bytes, {state}.")
        raise typer.Exit(ExitCode.DONE if found.ok else ExitCode.FAILED)
    if model is None or not license_:
        raise UsageError(
            "name a MODEL and its --license FILE, URL or hf:OWNER/NAME; weights alone say nothing of rights"
        )
    chosen = [pair for path in weights or () for pair in mirror.weights_in(path)]
    texts = [text for place in license_ for text in _texts(place)]  # all of them, before anything is written
    to.mkdir(parents=True, exist_ok=True)
    kept = [mirror.keep_bytes(to, "licence", name, source, content) for name, source, content in texts]
    for name, file in chosen:
        print(f"weighbridge: copying {name}", file=sys.stderr)
        kept.append(mirror.keep_file(to, "weights", name, file))
    terms = tuple(dict.fromkeys(ident for _, _, content in texts if (ident := by_file(content)) is not None))
    one = mirror.Mirrored(model=model, terms=terms, on=day_of(on), files=tuple(kept))
    made = mirror.add(to, one)
    if json:
        write(made)
    else:
        for row in kept:
            print(f"{row.sha256}  {row.bytes:>15,}  {row.role:7}  {row.name}")
        print(f"Terms: {', '.join(terms) or 'no recorded text is word for word among them'}")


def _texts(place: str) -> list[tuple[str, str, bytes]]:
    """Name, source and bytes of the texts at a place. Raises `WeighbridgeError`."""
    if hub.is_hub_name(place):
        card = hub.read_card(place)
        if missing := [text for text in card.texts if text.content is None]:
            raise UsageError(f"{place}: {missing[0].name} could not be read: {missing[0].why}")
        found = [
            (text.name, f"hf:{card.repo}@{card.commit} {text.name}", text.content)
            for text in card.texts
            if text.content is not None
        ]
        if not found:
            raise UsageError(f"{place}: has no licence file at commit {card.commit}, so there is no text to keep")
        return found
    if place.startswith(("http://", "https://")):
        return [(place.rstrip("/").rsplit("/", 1)[-1], place, asyncio.run(fetch(place)))]
    path = Path(place)
    try:
        return [(path.name, str(path.resolve()), path.read_bytes())]
    except OSError as error:
        raise UsageError(f"--license {place}: cannot be read: {error.strerror}") from None
