"""Each record carries what a reviewer concluded by role; the rules must come to the same without having seen it."""

import pytest

from tests.licenses.profiles import case, everything
from weighbridge.licenses import load
from weighbridge.licenses.model import RoleReading
from weighbridge.licenses.rules import evaluate

ROLE_OF = {"personal": "personal", "internal": "internal", "product": "product", "host": "model_service"}


@pytest.mark.parametrize("column", RoleReading.__struct_fields__)
@pytest.mark.parametrize("ident", load.ids())
def test_the_rules_reach_the_reviewers_reading(ident: str, column: str) -> None:
    name, _, side = column.partition("_")
    who = everything(ROLE_OF.get(name, name), amount=1e13 if side == "above" else 0, commercial=name != "personal")
    terms = load.terms(ident)
    assert getattr(terms.reading, column) == evaluate(case(terms, who)).verdict
