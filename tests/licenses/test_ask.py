"""`license profile`: only questions that change a verdict; answers become TOML."""

import tomllib
from typing import Any

import msgspec
import pytest

from tests.licenses.profiles import ON, org
from weighbridge.config.tree import OrganizationSection
from weighbridge.errors import UsageError
from weighbridge.licenses.ask import answered, as_toml, questions
from weighbridge.licenses.profile import EMPTY, profile


def fields(names: list[str], who: Any) -> list[str]:
    return [question.field for question in questions(names, who, ON).questions]


def test_nothing_is_asked_where_no_answer_matters() -> None:
    assert [] == fields(["mit", "llama-4"], org("product", established_in=("DE",)))


def test_roles_come_first() -> None:
    assert "organization.roles" == fields(["kimi-k3", "qwen-2024"], EMPTY)[0]


def test_the_question_that_most_verdicts_wait_for_comes_before_others() -> None:
    who = org("product", via="self_hosted", businesses=())
    found = questions(["qwen-2024", "kimi-k3", "kimi-k2-modified-mit"], who, ON).questions
    assert "organization.users_monthly.product" == found[0].field
    assert ("qwen-2024", "kimi-k3", "kimi-k2-modified-mit") == found[0].decides


def test_answering_everything_leaves_no_question() -> None:
    tree: dict[str, Any] = {}
    answers = {
        "roles": "product", "commercial": "yes", "businesses": "none", "via": "self_hosted",
        "established_in": "de, us", "users_in": "DE", "all_products_on": '{ "2025-04-05" = 10 }',
    }  # fmt: skip
    for _ in range(30):
        section = msgspec.convert(tree, OrganizationSection)
        open_ = questions(["kimi-k3", "llama-4", "tencent-hy-community-2025"], profile(section), ON)
        left = [question.field for question in open_.questions]
        if not left:
            break
        tree = answered(tree, left[0], answers.get(left[0].rsplit(".", 1)[1], "US$1,000,000"))
    assert set(open_.verdicts) == {"kimi-k3", "llama-4", "tencent-hy-community-2025"}
    assert tree["roles"] == ["product"]
    assert tomllib.loads(as_toml(tree)) == {"organization": tree}


@pytest.mark.parametrize(
    ("field", "text", "value"),
    [
        ("organization.revenue_usd.product_month", "2_500_000", 2_500_000),
        ("organization.revenue_usd.product_month", "0 - 20000000", ["0", "20000000"]),
        ("organization.use.businesses", "[]", []),
        ("organization.use.publishes_derivatives", "no", False),
    ],
)
def test_answers_are_read_as_people_type_them(field: str, text: str, value: object) -> None:
    tree = answered({}, field, text)
    for step in field.split(".")[1:]:
        tree = tree[step]
    assert value == tree


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("organization.commercial", "perhaps"),
        ("organization.roles", "king"),
        ("organization.revenue_usd.product_month", "a lot"),
        ("organization.use.via", "by post"),
        ("organization.established_in", "Germany"),
        ("organization.users_monthly.all_products_on", "many"),
    ],
)
def test_an_unusable_answer_is_refused_and_changes_nothing(field: str, text: str) -> None:
    with pytest.raises(UsageError):
        answered({}, field, text)
