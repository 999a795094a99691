"""Hours of people that a move takes: stated with what one costs, or not at all."""

import pytest

from weighbridge.config import loads
from weighbridge.errors import ConfigError

CONFIG = """
[[endpoint]]
name = "openai"
base_url = "https://api.openai.com/v1"
[[arm]]
name = "gpt-4o"
endpoint = "openai"
model = "gpt-4o-2024-08-06"
[[route]]
name = "assistant"
incumbent = "gpt-4o"
"""


def test_hours_with_what_one_costs_are_taken_as_stated() -> None:
    route = loads(CONFIG + 'staff_hours = 120\nusd_per_staff_hour = "95.50"\n').config.route[0]
    assert (120, "95.50") == (route.staff_hours, route.usd_per_staff_hour)


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ("staff_hours = 120\n", r"usd_per_staff_hour.*go together"),
        ('usd_per_staff_hour = "95"\n', r"staff_hours.*go together"),
        ('staff_hours = -1\nusd_per_staff_hour = "95"\n', r"staff_hours.*out of range.*-1"),
        ('staff_hours = 1\nusd_per_staff_hour = "dear"\n', r"usd_per_staff_hour.*'dear'"),
    ],
)
def test_half_a_statement_or_no_amount_is_refused_with_its_key(lines: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        loads(CONFIG + lines)
