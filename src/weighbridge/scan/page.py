"""One self-contained HTML page. It asks the network for nothing; its script only computes again what it holds."""

from importlib import resources

import jinja2
import markupsafe
import msgspec

from weighbridge.scan import words
from weighbridge.scan.alternatives import Slopes
from weighbridge.scan.scan import Scan
from weighbridge.scan.waste import RULES


class _Cost(msgspec.Struct, frozen=True, kw_only=True):
    """What the page needs to compute one alternative again; `id` is that of its table row."""

    id: str
    now: int | None
    family: str
    growth: str
    keeps_cache: bool
    slopes: tuple[Slopes, ...]


def render(scan: Scan) -> str:
    folder = resources.files("weighbridge.scan") / "templates"
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=jinja2.DictLoader({}),
    )
    costs = tuple(
        _Cost(
            id=f"c-{row}-{column}",
            now=application.cost_nanousd,
            family=one.family,
            growth=one.growth,
            keeps_cache=one.keeps_cache,
            slopes=one.slopes,
        )
        for row, application in enumerate(scan.applications)
        for column, one in enumerate(application.alternatives)
        if one.slopes and one.family is not None and one.growth is not None
    )
    used = sorted({ident for cost in costs for ident in _assumptions_of(cost)} & set(scan.assumptions))
    data = msgspec.json.encode({"costs": costs, "rows": {ident: scan.assumptions[ident].value for ident in used}})
    prices = _prices(scan)
    template = environment.from_string((folder / "scan.html.j2").read_text("utf-8"))
    return template.render(
        scan=scan,
        w=words,
        rules=RULES,
        changeable=used,
        top=top_of(scan),
        short=short_of(scan),
        # Footnotes: assumptions by number, prices by number behind P.
        numbers={ident: number for number, ident in enumerate(scan.assumptions, 1)},
        prices={price: number for number, price in enumerate(prices, 1)},
        # Our own files, which hold no data; and JSON without a character that could end the element it stands in.
        css=markupsafe.Markup((folder / "scan.css").read_text("utf-8")),  # noqa: S704
        script=markupsafe.Markup((folder / "scan.js").read_text("utf-8")),  # noqa: S704
        data=markupsafe.Markup(data.decode().replace("&", "\\u0026").replace("<", "\\u003c")),  # noqa: S704
    )


def _assumptions_of(cost: _Cost) -> set[str]:
    families = {f"tokens.{one.family}" for one in cost.slopes} | {f"tokens.{cost.family}"}
    hours = {"hours.dear"} if any(one.dear_hours is not None for one in cost.slopes) else set()
    return families | hours | {cost.growth} | (set() if cost.keeps_cache else {"cache.kept"})


def _prices(scan: Scan) -> list[str]:
    """Every price that an alternative was computed with, once, in the order of the page."""
    found: dict[str, None] = {}
    for application in scan.applications:
        for one in application.alternatives:
            found |= dict.fromkeys([one.price] if one.price else []) | dict.fromkeys(host.price for host in one.hosts)
    return list(found)


def short_of(scan: Scan) -> list[str]:
    """The page in a few sentences; each is about figures that stand below with their basis."""
    said = []
    first = next((line for line in scan.bill.by["application"] if line.name is not None), None)
    total = scan.bill.total.cost_nanousd
    if first is not None and total and len(scan.bill.by["application"]) > 1:
        share = words.percent(first.sum.cost_nanousd / total)
        said.append(f"{first.name} spends the most: {words.money(first.sum.cost_nanousd)}, {share} of what is known.")
    sure = [one for one in scan.waste if one.saving_nanousd.value]
    if sure:
        one = sure[0]
        said.append(
            f"The largest waste that a rule found: {words.span(one.saving_nanousd)} in {words.name(one.application)} "
            f"({RULES[one.rule].lower()})."
        )
    worth = [one for one in scan.applications if one.reading.startswith("Worth")]
    stay = [one for one in scan.applications if one.reading.startswith("Do not move")]
    count = len(scan.applications)
    said.append(
        f"Open models cost less over the whole range for {len(worth)} of {count} applications"
        + (f"; for {len(stay)} they cost more, so do not move those for the price." if stay else ".")
        + " Whether their answers are good enough, only a test shows."
    )
    if scan.quote.steps:
        last = scan.quote.steps[-1]
        many = f"{last.trials} application{'s' if last.trials != 1 else ''}"
        said.append(
            f"A test of {many} would cost about ${last.usd:,.2f} and {words.minutes(last.minutes)}, and "
            f"{words.hours(last.reviewer_hours)} of reviewers where no program can check the answers. It would decide "
            f"{words.percent(last.share)} of the spend."
        )
    return said


def top_of(scan: Scan) -> str:
    """What a reader should know first, in one sentence."""
    bill = scan.bill
    days = bill.days
    over = "" if days is None else f" in {days} days" if days != 1 else " in one day"
    text = f"{words.money(bill.total.cost_nanousd)} for {words.amount(bill.total)}{over}"
    if bill.total.unknown_tokens:
        text += f"; the cost of {words.unknown_part(bill.total)} is unknown"
    return text + "."
