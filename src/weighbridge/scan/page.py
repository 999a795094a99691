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
    template = environment.from_string((folder / "scan.html.j2").read_text("utf-8"))
    return template.render(
        scan=scan,
        w=words,
        rules=RULES,
        changeable=used,
        top=_top(scan),
        # Our own files, which hold no data; and JSON without a character that could end the element it stands in.
        css=markupsafe.Markup((folder / "scan.css").read_text("utf-8")),  # noqa: S704
        script=markupsafe.Markup((folder / "scan.js").read_text("utf-8")),  # noqa: S704
        data=markupsafe.Markup(data.decode().replace("&", "\\u0026").replace("<", "\\u003c")),  # noqa: S704
    )


def _assumptions_of(cost: _Cost) -> set[str]:
    families = {f"tokens.{one.family}" for one in cost.slopes} | {f"tokens.{cost.family}"}
    hours = {"hours.dear"} if any(one.dear_hours is not None for one in cost.slopes) else set()
    return families | hours | {cost.growth} | (set() if cost.keeps_cache else {"cache.kept"})


def _top(scan: Scan) -> str:
    """What a reader should know first, in one sentence."""
    bill = scan.bill
    days = bill.days
    over = "" if days is None else f" in {days} days" if days != 1 else " in one day"
    text = f"{words.money(bill.total.cost_nanousd)} for {words.amount(bill.total)}{over}"
    if bill.total.unknown_tokens:
        text += f"; the cost of {words.unknown_part(bill.total)} is unknown"
    return text + "."
