"""Models against roles."""

import time

from tests.licenses.profiles import ON, everything, org
from weighbridge.config.tree import ROLES
from weighbridge.licenses import catalogue
from weighbridge.licenses.check import check
from weighbridge.licenses.matrix import in_role, matrix
from weighbridge.licenses.profile import EMPTY


def test_a_cell_is_what_check_says_for_that_role() -> None:
    who = everything("product", amount=25e6)
    made = matrix(who, ON)
    assert len(catalogue.models()) == len(made.rows)
    for row in made.rows:
        for role in ROLES:
            answer = check(row.name, in_role(who, role), ON)
            assert (answer.verdict, answer.if_confirmed) == (row.roles[role].verdict, row.roles[role].if_confirmed)
            assert answer.terms == row.terms


def test_models_of_one_text_that_differ_in_release_are_not_mixed_up() -> None:
    who = org("product", established_in=("US",), users_in=("US",), users_on={"2026-04-23": 200e6})
    made = matrix(who, ON, ["HY-MT1.5", "Hy3-preview"], ["product"])
    assert ["unclear", "permission"] == [row.roles["product"].verdict for row in made.rows]


def test_personal_use_is_not_for_gain_whatever_the_organisation_does() -> None:
    row = matrix(org("product"), ON, ["exaone-1.1-nc"], ["personal", "product"]).rows[0]
    assert ["allowed", "permission"] == [row.roles[role].verdict for role in ("personal", "product")]


def test_all_models_and_roles_take_less_than_a_second_of_work() -> None:
    matrix(EMPTY, ON, ["mit"])
    started = time.process_time()
    matrix(EMPTY, ON)
    assert time.process_time() - started < 1
