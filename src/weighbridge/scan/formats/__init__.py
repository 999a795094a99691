"""Formats: how each is recognised, and where our columns are in it.

A format is a list of the leaves it reads (dotted paths into a record) and one SQL expression per column over them.
Leaves are read as text; `read` turns them into numbers and says which rows could not be. Nothing but the leaves named
here is taken out of a file. `schema` cites where the columns were published.
"""

from weighbridge.scan.columns import NEEDED, heading
from weighbridge.scan.formats.clouds import AWS_CUR, AZURE
from weighbridge.scan.formats.form import Format, first_of
from weighbridge.scan.formats.gateways import HELICONE, LANGFUSE, LITELLM, OPENAI_JSONL, OTLP
from weighbridge.scan.formats.providers import ANTHROPIC_USAGE, OPENAI_USAGE, OPENROUTER
from weighbridge.scan.source import Source

FORMATS = (
    LITELLM,
    OPENAI_USAGE,
    ANTHROPIC_USAGE,
    OPENROUTER,
    *AWS_CUR,
    AZURE,
    OTLP,
    *LANGFUSE,
    HELICONE,
    OPENAI_JSONL,
)
"""Asked in this order; the first that recognises a file reads it."""


CHARGES = (
    ("data.results.amount.value", "an OpenAI cost report; give the usage report, /v1/organization/usage/completions"),
    ("data.results.list_amount", "an Anthropic cost report; give the usage report, usage_report/messages"),
)
"""A key of files that state charges and no tokens, and what they are."""


def charges_only(source: Source) -> str | None:
    """What a file of charges without tokens is, and which one to give instead; `None` for any other."""
    return next((said for key, said in CHARGES if key in source.fields), None)


def own_schema(source: Source, mapping: dict[str, str]) -> Format | None:
    """The documented schema: columns by their heading, or as `mapping` (column -> heading) says. `None`: no fit."""
    found: dict[str, str] = {}
    for field in source.fields:
        name = heading(field)
        if name is not None:
            found.setdefault(name, field)
    found |= {column: field for column, field in mapping.items() if field in source.fields}
    if not set(NEEDED) <= set(found):
        return None
    return Format(
        name="columns",
        title="Columns of the documented schema",
        schema="docs/scan.md",
        recognise=lambda _: True,
        leaves=tuple(found.values()),
        columns={column: first_of(field) for column, field in found.items()},
        grain="bucket" if "requests" in found else "request",
    )


def missing(source: Source, mapping: dict[str, str]) -> list[str]:
    """The needed columns that neither a heading nor the mapping gives."""
    found = {heading(field) for field in source.fields} | {
        column for column, field in mapping.items() if field in source.fields
    }
    return [name for name in NEEDED if name not in found]
