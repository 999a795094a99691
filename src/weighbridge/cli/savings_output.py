"""`weighbridge budget savings` for people: no sum and no row without the verdict that it rests on."""

from typing import TYPE_CHECKING

from weighbridge.cli.outside import outside
from weighbridge.records.usage import usd

if TYPE_CHECKING:
    from weighbridge.ledger.savings import Against


def print_saved(one: "Against") -> None:
    """A comparison, its sum beside the verdicts that it rests on, each row beside its own."""
    words = {"non_inferior": "as good", "inferior": "worse", "undecided": "undecided"}
    net = one.net
    parts = ", ".join(f"{usd(part.nanousd)} {words[name]}" for name, part in one.by_verdict.items())
    print(outside(f"against {one.against}: {usd(net.nanousd)} saved ({usd(net.low_nanousd)} to "
                  f"{usd(net.high_nanousd)}), by verdict: {parts or 'nothing was judged'}; "
                  f"{one.not_measured:,} requests not compared"))  # fmt: skip
    for row in one.rows:
        what = row.why_unknown or f"{usd(row.would_have_cost.nanousd if row.would_have_cost else None)} instead"
        judged = row.judged
        verdict = "no verdict" if judged is None else words[judged.verdict]
        if judged is not None and judged.difference is not None:
            verdict += f" ({100 * judged.difference:+.1f} points, margin {100 * judged.margin:g})"
        print(outside(f"  {row.route}, {row.slice}: {verdict}; {row.requests:,} requests on {row.served_by}, "
                      f"{usd(row.paid_nanousd)} paid; {row.instead_of}: {what}"))  # fmt: skip
