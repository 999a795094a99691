"""`weighbridge license`: check, matrix, diff, profile, obligations, watch."""

import asyncio
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import typer

from weighbridge.cli import license_output as output
from weighbridge.cli.license_metered import from_log, told, with_tokens
from weighbridge.cli.license_mirror import DEFAULT_MIRROR, MIRROR_EXAMPLES, mirror_
from weighbridge.cli.license_statement import STATEMENT_EXAMPLES, statement
from weighbridge.cli.license_watch import WATCH_EXAMPLES, OnDay, day_of, open_weights, watch, write
from weighbridge.cli.options import DEFAULT_CONFIG, ConfigFile, Json
from weighbridge.config import load
from weighbridge.config.tree import ROLES
from weighbridge.errors import ExitCode, UsageError
from weighbridge.ledger.prices import listed_models
from weighbridge.licenses import ask, changes, hub, load_profile, resolve
from weighbridge.licenses import mirror as mirroring
from weighbridge.licenses import profile as checked_profile
from weighbridge.licenses.ahead import ahead
from weighbridge.licenses.check import check_parts, parts_of
from weighbridge.licenses.diff import compare
from weighbridge.licenses.finding import finding
from weighbridge.licenses.kit import kit, required
from weighbridge.licenses.matrix import in_role
from weighbridge.licenses.matrix import matrix as models_by_roles
from weighbridge.licenses.profile import EMPTY, Profile, Range
from weighbridge.licenses.rules import PERMISSIVE
from weighbridge.licenses.shown import look, read_folder, read_page
from weighbridge.licenses.supplier import supplier
from weighbridge.records.evidence import Finding

HELP = "What a model's terms mean for you: clause by clause, from recorded facts. Not legal advice."
app = typer.Typer(add_completion=False, help=HELP, no_args_is_help=True, rich_markup_mode="rich")

NOT_PERMITTED = 3
"""With `--gate`: decided, and not permitted as things stand."""

Via = Literal["self_hosted", "licensor_api", "certified_partner", "third_party_product"]
ProfileFile = Annotated[
    Path | None,
    typer.Option(
        "--profile",
        metavar="FILE",
        dir_okay=False,
        help="A TOML file with [organization]; without it, that of the configuration file.",
    ),
]
ViaRoute = Annotated[
    Via | None, typer.Option("--via", help="How the model is reached; overrides organization.use.via.")
]
ModelOrTerms = Annotated[
    str | None,
    typer.Argument(
        metavar="MODEL_OR_TERMS",
        help="A model's name, a terms id, an SPDX expression, the sha256 of a licence file, hosted:PROVIDER, "
        "hf:OWNER/NAME[@REVISION] (its model card, read online); a stack is written 'A + B'. "
        "Without it, every arm of the configuration.",
    ),
]


@app.callback()
def license_() -> None:
    """What a model's terms mean for you: clause by clause, from recorded facts. Not legal advice."""


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """The documented JSON shape of `license check --json` without a model: one finding for each arm."""

    findings: tuple[Finding, ...]


@app.command(
    epilog="Examples: `weighbridge license check kimi-k3 --profile us.toml`, "
    "`weighbridge license check 'qwen-2024 + llama-3.1' --json`, `weighbridge license check MIT`."
)
def check(
    model: ModelOrTerms = None,
    profile: ProfileFile = None,
    via: ViaRoute = None,
    on: OnDay = None,
    license_file: Annotated[
        Path | None,
        typer.Option("--license-file", metavar="FILE", dir_okay=False, help="Find terms by this file's sha256."),
    ] = None,
    output_tokens: Annotated[
        float | None,
        typer.Option(
            "--output-tokens",
            metavar="N",
            min=0,
            help="Tokens that the model makes in a month; else from the log here.",
        ),
    ] = None,
    growth: Annotated[
        float | None,
        typer.Option("--growth", metavar="RATE", help="Growth a month, 0.08 is 8 %: also say which lines are ahead."),
    ] = None,
    arm: Annotated[str | None, typer.Option("--arm", metavar="NAME", help="Only this arm.")] = None,
    gate: Annotated[
        bool, typer.Option("--gate", help="For CI: exit 3 where a permission or fee is needed or the use is forbidden.")
    ] = False,
    json: Json = False,
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Say what terms mean for your organisation, with clause and source, and what is still to be answered.

    Exit code 0: decided; 2: unclear, and the questions say what would decide it; 3, with --gate: not permitted as
    things stand.
    """
    day = day_of(on)
    who = _who(profile, config, via, output_tokens)
    query = _query(model, license_file)
    if query is not None and arm is not None:
        raise UsageError("--arm names an arm of the configuration; leave MODEL_OR_TERMS and --license-file out")
    if query is None:
        found = _arms(config, arm, day, who)
        write(Checked(findings=found)) if json else output.findings(found)
        raise typer.Exit(_code([row.verdict for row in found], gate))
    parts = hub.parts(query)
    metered = from_log(query, parts, config) if output_tokens is None else None
    if metered is not None:
        who = with_tokens(who, metered)
    answer = check_parts(parts, who, day)
    lines = [] if metered is None else told(query, who, metered, day)
    lines += _lines_ahead(query, who, growth, day)
    if json:
        write(answer)
        for line in lines:
            typer.echo(line, err=True)
    else:
        by_role: dict[str, str] = {}
        if answer.verdict == "unclear" and not who.roles:
            by_role = {role: check_parts(parts, in_role(who, role), day).verdict for role in ROLES}
        who_makes = supplier(query, listed_models())
        escrow = None if who_makes is None else mirroring.escrow(who_makes.model, config.parent / DEFAULT_MIRROR)
        output.answer(query, answer, by_role, who_makes, lines, escrow)
    raise typer.Exit(_code([answer.verdict], gate))


@app.command(epilog="Example: `weighbridge license matrix --role product --role model_service`.")
def matrix(
    models: Annotated[
        list[str] | None,
        typer.Argument(metavar="MODEL_OR_TERMS", help="Only these; else every recorded model."),
    ] = None,
    role: Annotated[
        list[str] | None, typer.Option("--role", metavar="ROLE", help="Only this role; may repeat.")
    ] = None,
    profile: ProfileFile = None,
    via: ViaRoute = None,
    on: OnDay = None,
    json: Json = False,
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Show every recorded model against every role, for an organisation with your other facts."""
    for name in role or ():
        if name not in ROLES:
            raise UsageError(f"--role {name}: is not a role; allowed are {', '.join(ROLES)}")
    made = models_by_roles(_who(profile, config, via), day_of(on), models or (), role or ROLES)
    write(made) if json else output.matrix(made)


class Changed(msgspec.Struct, frozen=True, kw_only=True):
    """The documented JSON shape of `license diff --family`."""

    changes: tuple[changes.Told, ...]


@app.command(
    epilog="Examples: `weighbridge license diff kimi-k2-modified-mit kimi-k3`, "
    "`weighbridge license diff --family llama`."
)
def diff(
    before: Annotated[str | None, typer.Argument(metavar="A", help="Model or terms before.")] = None,
    after: Annotated[str | None, typer.Argument(metavar="B", help="Model or terms after.")] = None,
    family: Annotated[
        str | None, typer.Option("--family", metavar="NAME", help="The dated changes of one family, or all.")
    ] = None,
    json: Json = False,
) -> None:
    """Say what changed in meaning between two recorded texts, or what happened in a family of models, date by date."""
    if family is not None and before is None:
        told = _told(family)
        write(Changed(changes=told)) if json else output.told(told)
        return
    if before is None or after is None or family is not None:
        raise UsageError(
            f"give two texts to compare, or --family NAME with one of: {', '.join(changes.families())}, all"
        )
    made = compare(_terms(before), _terms(after))
    write(made) if json else output.compared(
        made, [changes.told(row) for row in changes.between(made.before, made.after)]
    )


@app.command(epilog="Example: `weighbridge license profile --for kimi-k3 --for qwen-2024 --ask`.")
def profile(
    names: Annotated[
        list[str] | None,
        typer.Option("--for", metavar="MODEL_OR_TERMS", help="What you may use; else arms with open weights."),
    ] = None,
    asking: Annotated[bool, typer.Option("--ask", help="Ask here, then print [organization] as TOML.")] = False,
    profile_file: ProfileFile = None,
    on: OnDay = None,
    json: Json = False,
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """List the questions whose answer changes a verdict, and no others. Exit code 2 while there are some."""
    day = day_of(on)
    wanted = names or open_weights(config)
    tree = _tree(profile_file, config)
    if asking:
        tree = _interview(wanted, tree, day)
    open_ = ask.questions(wanted, _from_tree(tree), day)
    if json:
        write(open_)
    else:
        output.open_questions(open_)
        if asking:
            sys.stdout.write("\n" + ask.as_toml(tree))
    raise typer.Exit(ExitCode.UNDECIDED if open_.questions else ExitCode.DONE)


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """The documented JSON shape of `license obligations`: the files that were written."""

    query: str
    files: tuple[str, ...]


@app.command(
    epilog="Examples: `weighbridge license obligations llama-3.1 --out kit`, "
    "`weighbridge license obligations kimi-k3 --check https://example.com/about`."
)
def obligations(
    model: Annotated[str, typer.Argument(metavar="MODEL_OR_TERMS", help="As for `license check`.")],
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Where to write the files.", file_okay=False)
    ] = Path("license-kit"),
    looked_in: Annotated[
        str | None,
        typer.Option("--check", metavar="URL|DIR", help="Write nothing; see whether required texts are shown there."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over files that are there.")] = False,
    profile: ProfileFile = None,
    via: ViaRoute = None,
    on: OnDay = None,
    json: Json = False,
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Write what the terms ask for as files (checklist, NOTICE, attribution, names, mails), or check that it is shown.

    Exit code 2 with --check: a required text is missing.
    """
    who, day = _who(profile, config, via), day_of(on)
    if looked_in is not None:
        texts = required(parts_of(model, who, day))
        folder = Path(looked_in)
        pages = read_folder(folder) if folder.is_dir() else asyncio.run(read_page(looked_in))
        seen = look(pages, texts, looked_in)
        write(seen) if json else output.shown(seen)
        raise typer.Exit(ExitCode.UNDECIDED if any(one.found_in is None for one in seen.texts) else ExitCode.DONE)
    made = kit(model, who, day)
    there = [name for name in made.files if (out / name).exists()]
    if there and not force:
        raise UsageError(
            f"{out} holds {', '.join(there)} already; --force writes over them, --out names another folder"
        )
    out.mkdir(parents=True, exist_ok=True)
    for name, text in made.files.items():
        (out / name).write_text(text, encoding="utf-8")
    written = tuple(str(out / name) for name in made.files)
    write(Written(query=model, files=written)) if json else output.written(written)


app.command(epilog=WATCH_EXAMPLES)(watch)
app.command(epilog=STATEMENT_EXAMPLES)(statement)
app.command("mirror", epilog=MIRROR_EXAMPLES)(mirror_)


def _code(verdicts: list[Any], gate: bool) -> int:
    if gate and any(word not in PERMISSIVE and word != "unclear" for word in verdicts):
        return NOT_PERMITTED
    return ExitCode.UNDECIDED if "unclear" in verdicts else ExitCode.DONE


def _query(model: str | None, license_file: Path | None) -> str | None:
    if license_file is None:
        return model
    if model is not None:
        raise UsageError("--license-file finds the terms by itself; leave MODEL_OR_TERMS out")
    try:
        return resolve.of_file(license_file)
    except OSError as error:
        raise UsageError(f"--license-file {license_file}: cannot be read: {error.strerror}") from None


def _who(file: Path | None, config: Path, via: Via | None, output_tokens: float | None = None) -> Profile:
    if file is not None:
        who = load_profile(file)
    elif config != DEFAULT_CONFIG or config.exists():
        loaded = load(config)
        who = checked_profile(loaded.config.organization, loaded.file)
    else:
        who = EMPTY
    if via is not None:
        who = msgspec.structs.replace(who, via=via)
    if output_tokens is not None:
        who = msgspec.structs.replace(who, output_tokens_month=Range(output_tokens, output_tokens))
    return who


def _lines_ahead(query: str, who: Profile, growth: float | None, day: str) -> list[str]:
    if growth is None:
        return []
    if not growth > 0:
        raise UsageError(f"--growth {growth}: must be above 0; 0.08 is 8 % a month")
    return [row.sentence for row in ahead(query, who, growth, day)] or ["no line is reached within three years"]


def _arms(config: Path, name: str | None, day: str, who: Profile) -> tuple[Finding, ...]:
    loaded = load(config)
    arms = [row for row in loaded.config.arm if name in (None, row.name)]
    if not arms:
        known = ", ".join(row.name for row in loaded.config.arm) or "none"
        raise UsageError(f"--arm {name}: {loaded.file} has no such arm; it has: {known}")
    return tuple(finding(row, day, who) for row in arms)


def _terms(name: str) -> Any:
    parts = resolve.resolve(name)
    first = parts[0]
    if not isinstance(first, resolve.Recorded):
        why = first.why if isinstance(first, resolve.Unknown) else "the terms of a service are not compared"
        raise UsageError(f"{name}: {why}; `license matrix` lists what is recorded")
    return first.terms


def _told(family: str) -> tuple[changes.Told, ...]:
    if family != "all" and family not in changes.families():
        raise UsageError(f"--family {family}: is not recorded; allowed are {', '.join(changes.families())}, all")
    return tuple(changes.told(row) for row in changes.changes() if family in ("all", row.family))


def _tree(file: Path | None, config: Path) -> dict[str, Any]:
    """`[organization]` as written, so that what is asked can be added to it."""
    if file is not None:
        load_profile(file)
        return ask.organization_of(file)
    if config != DEFAULT_CONFIG or config.exists():
        load(config)
        return ask.organization_of(config)
    return {}


def _from_tree(tree: dict[str, Any]) -> Profile:
    return checked_profile(msgspec.convert(tree, ask.OrganizationSection, strict=True))


def _interview(wanted: list[str], tree: dict[str, Any], day: str) -> dict[str, Any]:
    """Ask one question at a time: each answer may make others needless."""
    skipped: set[str] = set()
    while True:
        left = [one for one in ask.questions(wanted, _from_tree(tree), day).questions if one.field not in skipped]
        if not left:
            return tree
        typer.echo(f"{left[0].field} (for {', '.join(left[0].decides)}; Enter leaves it unknown)", err=True)
        text = typer.prompt(left[0].text, default="", show_default=False, err=True)
        if not text.strip():
            skipped.add(left[0].field)
            continue
        try:
            tree = ask.answered(tree, left[0].field, text)
        except UsageError as error:
            typer.echo(f"  {error}", err=True)
