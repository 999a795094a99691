"""Bills of clouds, one line per class of tokens: the AWS Cost and Usage Report and Azure cost exports.

They say tokens and charges exactly, and not how many requests there were.
"""

from weighbridge.scan.formats.form import Format, first_of, has, leaf

_CLASSES = "(input|output|cache-read-input|cache-write-input)"


def _tokens(quantity: str, unit: str) -> str:
    """A quantity in thousands or millions -> whole tokens as text; exact up to the rounding of the export."""
    factor = (
        f"CASE WHEN regexp_matches({unit}, '^1? ?K', 'i') THEN 1000 WHEN regexp_matches({unit}, '^1? ?M', 'i') "
        f"THEN 1000000 WHEN {unit} IN ('Tokens', 'tokens', 'Units', '1') THEN 1 END"
    )
    return f"round(TRY_CAST({quantity} AS DECIMAL(30, 10)) * {factor})::BIGINT::VARCHAR"


def _classed(is_input: str, tokens: str) -> str:
    return f"CASE WHEN {is_input} THEN {tokens} ELSE '0' END"


def _cur(name: str, title: str, form: str) -> Format:
    """`form` turns a column of the line-item dictionary into its heading."""

    def column(text: str) -> str:
        if form == "cur2":
            return text
        head, _, rest = text.partition("_item_") if text.startswith("line_item_") else text.partition("_")
        camel = "".join(word.capitalize() for word in rest.split("_"))
        return f"lineItem/{camel}" if text.startswith("line_item_") else f"{head}/{rest}"

    product, usage, kind = (
        column(one) for one in ("line_item_product_code", "line_item_usage_type", "line_item_line_item_type")
    )
    amount, cost, start = (
        column(one) for one in ("line_item_usage_amount", "line_item_unblended_cost", "line_item_usage_start_date")
    )
    currency, resource, account = (
        column(one) for one in ("line_item_currency_code", "line_item_resource_id", "line_item_usage_account_id")
    )
    unit = column("pricing_unit")
    person = "line_item_iam_principal"
    called = leaf(usage)
    token_class = f"regexp_extract({called}, '-(?:mantle-)?{_CLASSES}-token(?:s|-count)', 1)"
    tokens = _tokens(leaf(amount), leaf(unit))
    region = "^(?:[A-Z]{2,4}[0-9]?[A-Z]?[0-9]?-)?"
    return Format(
        name=name,
        title=title,
        schema="https://docs.aws.amazon.com/cur/latest/userguide/table-dictionary-cur2-line-item.html; usage types in "
        "https://docs.aws.amazon.com/bedrock/latest/userguide/cost-mgmt-understanding-cur-data.html, read 2026-11-25",
        recognise=has(product, usage, amount, cost),
        leaves=(product, usage, kind, amount, cost, start, currency, resource, account, unit, person),
        columns={
            "time": first_of(start),
            "application": f"nullif(regexp_extract({leaf(resource)}, '[^/]+$'), '')",
            "team": first_of(account),
            "user": f"nullif(regexp_extract({leaf(person)}, '[^/]+$'), '')",
            "provider": "'aws'",
            "model": f"nullif(regexp_extract({called}, '{region}(.+?)-(?:mantle-)?{_CLASSES}-token', 1), '')",
            "input_tokens": _classed(f"{token_class} <> 'output'", tokens),
            "cached_input_tokens": _classed(f"{token_class} = 'cache-read-input'", tokens),
            "cache_write_tokens": _classed(f"{token_class} = 'cache-write-input'", tokens),
            "output_tokens": _classed(f"{token_class} = 'output'", tokens),
            "cost_usd": f"CASE WHEN coalesce({leaf(currency)}, 'USD') = 'USD' THEN {first_of(cost)} END",
            "service_tier": f"nullif(lower(regexp_extract({called}, '-(batch|flex|priority|reserved)', 1)), '')",
        },
        passes=(
            ("a line of another service", f"{leaf(product)} NOT LIKE 'AmazonBedrock%'"),
            ("a tax, fee, credit or discount", f"{leaf(kind)} NOT IN ('Usage', 'DiscountedUsage')"),
            ("use of Bedrock that is not billed by tokens", f"{called} IS NOT NULL AND {token_class} = ''"),
        ),
        refuses=(("its unit is not known", f"{tokens} IS NULL AND {leaf(amount)} IS NOT NULL"),),
        grain="meter",
        counted=False,
    )


AWS_CUR = (
    _cur("aws-cur2", "AWS Cost and Usage Report 2.0, lines of Bedrock", "cur2"),
    _cur("aws-cur", "AWS Cost and Usage Report (legacy headings), lines of Bedrock", "legacy"),
)

_METER = leaf("MeterName")
_AZURE_INPUT = "(?:inp|inpt|input)"
_AZURE_OUTPUT = "(?:outp|outpt|output|opt)"
_IS_TOKENS = f"regexp_matches({_METER}, '\\b(?:{_AZURE_INPUT}|{_AZURE_OUTPUT})\\b.*tokens$', 'i')"
_IS_OUTPUT = f"regexp_matches({_METER}, '\\b{_AZURE_OUTPUT}\\b', 'i')"
_IS_CACHED = f"regexp_matches({_METER}, '\\b(?:cached|cchd|cd) {_AZURE_INPUT}\\b', 'i')"
_AZURE_MODEL = (
    f"regexp_replace({_METER}, "
    f"'(?i)[ -]+(?:(?:batch|cached|cchd|cd|shortco|longco) )*(?:{_AZURE_INPUT}|{_AZURE_OUTPUT})\\b.*$', '')"
)
_AZURE_TOKENS = _tokens(leaf("Quantity"), leaf("UnitOfMeasure"))

AZURE = Format(
    name="azure-cost",
    title="Azure cost export, lines of language models",
    schema="https://learn.microsoft.com/azure/cost-management-billing/dataset-schema/cost-usage-details-ea and -mca "
    "(versions 2024-08-01 and 2023-12-01-preview); meter names as in https://prices.azure.com/api/retail/prices, "
    "serviceName 'Foundry Models', read 2026-11-25",
    recognise=has("MeterCategory", "MeterSubCategory", "MeterName", "UnitOfMeasure", "Quantity"),
    leaves=(
        "Date", "MeterCategory", "MeterSubCategory", "MeterName", "UnitOfMeasure", "Quantity", "CostInBillingCurrency",
        "CostInUsd", "BillingCurrency", "BillingCurrencyCode", "ResourceGroup", "ResourceGroupName", "ResourceId",
        "ChargeType",
    ),
    columns={
        "time": f"coalesce(strftime(TRY_STRPTIME({leaf('Date')}, '%m/%d/%Y'), '%Y-%m-%d'), {first_of('Date')})",
        "application": f"nullif(regexp_extract({leaf('ResourceId')}, '[^/]+$'), '')",
        "team": first_of("ResourceGroup", "ResourceGroupName"),
        "provider": "'azure'",
        # Meters of OpenAI's models leave the family away: `5.5 ShortCo inp Gl 1M Tokens`.
        "model": f"CASE WHEN {leaf('MeterSubCategory')} ILIKE '%OpenAI%GPT%' AND regexp_matches({_METER}, '^[0-9]') "
        f"THEN 'gpt-' ELSE '' END || {_AZURE_MODEL}",
        "input_tokens": _classed(f"NOT {_IS_OUTPUT}", _AZURE_TOKENS),
        "cached_input_tokens": _classed(_IS_CACHED, _AZURE_TOKENS),
        "output_tokens": _classed(_IS_OUTPUT, _AZURE_TOKENS),
        "cost_usd": f"coalesce({first_of('CostInUsd')}, CASE WHEN {first_of('BillingCurrency', 'BillingCurrencyCode')} "
        f"= 'USD' THEN {first_of('CostInBillingCurrency')} END)",
        "batch": f"CASE WHEN regexp_matches({_METER}, '\\bbatch\\b', 'i') THEN 'true' END",
    },
    passes=(
        ("a purchase, refund or adjustment", f"{leaf('ChargeType')} <> 'Usage'"),
        ("a line of another service, or one not billed by tokens", f"{_METER} IS NULL OR NOT {_IS_TOKENS}"),
    ),
    refuses=(("its unit is not known", f"{_AZURE_TOKENS} IS NULL AND {leaf('Quantity')} IS NOT NULL"),),
    grain="meter",
    counted=False,
)  # fmt: skip
