"""Sentences about terms: thresholds, grants, duties, as people read them."""

import re

from weighbridge.licenses.conditions import amount
from weighbridge.licenses.model import Duty, Terms, Threshold

AXES = {
    "mau_product": "monthly active users of the product",
    "mau_all_products": "monthly users of all products",
    "revenue_product_monthly": "revenue of the product in a month",
    "revenue_product_annual": "revenue of products in a year",
    "revenue_product_annual_recurring": "annual recurring revenue of the product",
    "revenue_entity_annual": "revenue of the organisation in a year",
    "revenue_entity_aggregate": "revenue of licensee and affiliates together over any 12 consecutive months",
    "revenue_consolidated_monthly": "worldwide consolidated revenue of the company (or employer) in the month before",
    "output_tokens": "tokens produced in a month",
}

CONSEQUENCES = {
    "display_name": "the model's name must be shown",
    "notify_licensor": "the licensor must be told",
    "written_authorisation": "prior written authorisation is needed",
    "no_rights_until_licensed": "there are no rights until the licensor grants a licence",
    "separate_agreement": "a separate agreement is needed",
    "separate_agreement_before_any_commercial_use": "a separate agreement is needed before any commercial use",
    "security_review_before_any_commercial_use": "the licensor's security review comes before any commercial use",
    "licence_terminates": "the licence ends and a paid one is needed",
    "paid_licence": "a paid licence is needed",
}

FIELD_MEANING = {
    "organization.roles": "what is this use (one or more of: personal, internal, product, work_assistant, "
    "model_service, relay, integrator, distributor, distiller, military)?",
    "organization.commercial": "is the use commercial (true or false)?",
    "organization.established_in": "in which countries is the organisation established (ISO codes)?",
    "organization.users_in": "in which countries are the users (ISO codes)?",
    "organization.revenue_usd.product_month": "what does the product earn in a month, in US$ (a figure or a band)?",
    "organization.revenue_usd.product_year": "what do the products earn in a year, in US$ (a figure or a band)?",
    "organization.revenue_usd.product_recurring_year": "what is the product's annual recurring revenue, in US$?",
    "organization.revenue_usd.entity_year": "what does the organisation earn in a year, in US$ (a figure or a band)?",
    "organization.revenue_usd.group_12_months": "what do the organisation and its affiliates together earn over any "
    "12 months, in US$ (a figure or a band)?",
    "organization.revenue_usd.consolidated_month": "what is the worldwide consolidated revenue in a month, in US$?",
    "organization.revenue_usd.employer_consolidated_month": "what is the employer's worldwide consolidated revenue in "
    "a month, in US$?",
    "organization.users_monthly.product": "how many monthly active users has the product (a figure or a band)?",
    "organization.users_monthly.all_products": "how many monthly users have all products together?",
    "organization.users_monthly.all_products_on": "how many monthly users had all products in the month before the "
    "model was released?",
    "organization.use.via": "how is the model reached (self_hosted, licensor_api, certified_partner or "
    "third_party_product)?",
    "organization.use.businesses": "what does the group also do (model_service, ai_work_assistant, "
    "competes_with:LICENSOR; [] for none of them)?",
}


def threshold_sentence(line: Threshold) -> str:
    """`Above US$20 million (revenue ...), where ...: a separate agreement is needed before any commercial use.`"""
    consequence = CONSEQUENCES[line.consequence]
    if line.axis == "business_type":
        return f"Whatever the revenue, where the {line.gate}: {consequence}."
    if line.axis == "competing_product":
        return f"For a {line.gate}: {consequence}."
    figure = amount(line.value, line.unit)
    start = f"Above {figure}" if line.op == ">" else f"From {figure} on"
    counted = ", affiliates counted" if line.affiliates == "counted" and "affiliates" not in AXES[line.axis] else ""
    when = ", once, when the model was released" if line.as_of == "model_release_date" else ""
    gate = {"commercial use": ", for commercial use", "any use": ", for any use"}.get(line.gate)
    if gate is None:
        gate = f", for {line.gate}" if line.gate.startswith("any use") else f", where the {line.gate}"
    return f"{start} ({AXES[line.axis]}{counted}{when}){gate}: {consequence}."


def permission_sentence(terms: Terms) -> str:
    return f"Commercial use under {terms.name}: {terms.facts.commercial_use.text}"


_DO = {
    "licence_copy": "pass on the licence text",
    "retain_notice": "keep the copyright and permission notice",
    "change_notice": "mark what you changed",
    "notice_file": "include this notice",
    "display_text": "show this text",
    "display_text_encouraged": "encouraged, not required: show this text",
    "name_prefix": "begin the name of the model with",
    "flow_down": "bind those who receive it",
    "acceptable_use": "keep to the acceptable use policy",
    "notify_licensor": "tell the licensor",
    "written_authorisation": "obtain written authorisation",
    "separate_agreement": "sign a separate agreement",
    "security_review": "pass the licensor's security review",
    "register": "register",
    "safeguards": "run safeguards",
    "ai_disclosure": "disclose machine-generated content",
    "disclose_provider": "say who provides the service",
    "downstream_notice": "tell those downstream",
    "statement": "make this statement",
    "trademark_statement": "make the trademark statement",
    "transparency": "keep transparency features",
    "back_fees": "pay for past unlicensed use",
    "update": "keep up to date",
    "attribution": "give credit",
}


_SAYS_NO_MORE = re.compile(
    r"(a )?cop(y|ies)( of the (agreement|licence|terms))?( to recipients and service users)?|mark modified files|"
    r"(copyright and permission )?notices?|separate (prior )?(written )?(authorisation|agreement)",
    re.IGNORECASE,
)
"""What a duty's text adds nothing with, beside its kind."""


def duty_sentence(duty: Duty, model: str | None = None) -> str:
    """`Show this text: "Kimi K3" (user interface, above either display threshold)`."""
    do = _DO[duty.kind]
    do = f"{do[0].upper()}{do[1:]}"
    what = quoted(duty, model) or ("" if _SAYS_NO_MORE.fullmatch(duty.text) else duty.text)
    return f"{do}{': ' if what else ''}{what} (when: {duty.moment})"


def quoted(duty: Duty, model: str | None = None) -> str:
    """The strings to reproduce, in quotes; the one for `model` where the duty has a string for each version."""
    texts = required_texts(duty, model)
    return " or ".join(f'"{text}"' for text in texts)


def required_texts(duty: Duty, model: str | None = None) -> tuple[str, ...]:
    """Any one of these fulfils the duty to show or include a text; empty where no exact words are recorded."""
    name = None if model is None else model.replace("-", " ")
    if duty.text == "the model name" and model is not None:
        return (model,)
    if duty.show is None:
        return ()
    every = (duty.show, *duty.or_show)
    return (name,) if name is not None and name in every else every
