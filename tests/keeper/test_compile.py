"""Configuration -> route table: what is refused, what is only said, and that no secret gets in."""

import dataclasses
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path

import msgspec
import pytest

from weighbridge.config import loads
from weighbridge.config.tree import ArmSection, EndpointSection
from weighbridge.errors import ConfigError
from weighbridge.keeper.compile import ClientKeys, Compiled, World, compile_table
from weighbridge.ledger.prices import PriceAnswer, PriceFound, PriceUnknown
from weighbridge.records.canonical import canonical, parse
from weighbridge.records.table import Limits, RouteTable, Share, UsualOutput
from weighbridge.records.usage import Price

BASE = """
[[endpoint]]
name = "openai"
base_url = "https://api.openai.com/v1/"
api_key = "env:OPENAI_API_KEY"
provider = "openai"
[[endpoint]]
name = "own"
base_url = "http://127.0.0.1:9000/v1"
[[arm]]
name = "gpt-4o"
endpoint = "openai"
model = "gpt-4o-2024-08-06"
weights = "closed"
[[arm]]
name = "qwen"
endpoint = "own"
model = "Qwen2.5-72B-Instruct"
weights = "open"
[[route]]
name = "assistant"
aliases = ["gpt-4o"]
incumbent = "gpt-4o"
candidates = ["qwen"]
slice_by = ["tag:task"]
[[key]]
name = "app"
secret = "env:APP_KEY"
"""

SECRETS = {"env:APP_KEY": "sk-app-CANARY", "env:OPENAI_API_KEY": "sk-openai-CANARY"}
PRICE = PriceFound(price=Price(1, 2), version="test 1", source="here", date=None, until_ns=None)


@dataclasses.dataclass
class Outside:
    """A world for tests: secrets and prices by name."""

    secrets: dict[str, str] = dataclasses.field(default_factory=lambda: dict(SECRETS))
    prices: dict[str, PriceAnswer] = dataclasses.field(default_factory=dict)
    text: Callable[[str], str] = str.upper

    def world(self) -> World:
        return World(secret=self._secret, text=self.text, price=self._price)

    def _secret(self, reference: str) -> str:
        if reference not in self.secrets:
            raise LookupError(f"the environment variable {reference[4:]} is not set")
        return self.secrets[reference]

    def _price(self, arm: ArmSection, endpoint: EndpointSection) -> PriceAnswer:
        return self.prices.get(arm.name, PRICE)


def compiled(text: str = BASE, outside: Outside | None = None, client_keys: ClientKeys = "all") -> Compiled:
    return compile_table(
        loads(text, folder=Path("/etc/wb")),
        number=7,
        now_ns=123,
        trial_key="ab" * 32,
        world=(outside or Outside()).world(),
        client_keys=client_keys,
    )


def test_a_table_says_everything_that_a_worker_needs() -> None:
    table = compiled().table
    assert (table.number, table.created_ns, table.trial_key) == (7, 123, "ab" * 32)
    assert table.limits == Limits()
    assert table.arm("gpt-4o").price == Price(1, 2)
    assert table.arm("gpt-4o").price_version == "test 1"
    route = table.route("gpt-4o")
    assert route is not None
    assert route.name == "assistant"
    assert route.shares == (Share(arm="gpt-4o", basis_points=10_000),)
    assert table.endpoint("openai").base_url == "https://api.openai.com/v1"


def test_a_table_reads_back_as_it_was_written() -> None:
    table = compiled().table
    assert parse(canonical(table), RouteTable) == table


def test_the_same_configuration_compiles_to_the_same_bytes() -> None:
    assert canonical(compiled().table) == canonical(compiled().table)


def test_the_config_digest_changes_with_the_configuration() -> None:
    other = BASE.replace('slice_by = ["tag:task"]', 'slice_by = ["key"]')
    assert compiled().table.config_digest != compiled(other).table.config_digest


def test_no_secret_is_in_the_table() -> None:
    stored = canonical(compiled().table)
    assert b"CANARY" not in stored
    assert b"env:OPENAI_API_KEY" in stored


def test_a_client_key_is_kept_as_its_blake2b_digest() -> None:
    key = compiled().table.keys[0]
    assert key.digest == blake2b(b"sk-app-CANARY", digest_size=32).hexdigest()


@pytest.mark.parametrize(
    ("base_url", "loopback", "own"),
    [
        ("http://localhost:8000/v1", True, True),
        ("http://LOCALHOST:8000/v1", True, True),
        ("http://127.0.0.1/v1", True, True),
        ("http://127.9.9.9:1/v1", True, True),
        ("http://[::1]:8000", True, True),
        ("http://[::ffff:127.0.0.1]:8000", True, True),
        ("http://10.0.0.7:8000/v1", False, True),
        ("http://169.254.169.254/v1", False, True),
        ("https://api.openai.com/v1", False, False),
        ("http://localhost.example.com/v1", False, False),
        ("http://127.0.0.1.nip.io/v1", False, False),
        ("http://2130706433/v1", False, False),
        ("http://127.1/v1", False, False),
    ],
)
def test_only_written_down_addresses_are_own_and_only_loopback_is_local(
    base_url: str, loopback: bool, own: bool
) -> None:
    endpoint = compiled(BASE.replace("http://127.0.0.1:9000/v1", base_url)).table.endpoint("own")
    assert (endpoint.loopback, endpoint.address_is_own) == (loopback, own)


def test_a_system_prompt_file_is_read_into_the_arm(tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("x")
    text = BASE.replace('weights = "open"', f'weights = "open"\nsystem_prompt_file = "{tmp_path}/p.txt"')
    arm = compiled(text, Outside(text=lambda path: f"text of {path}")).table.arm("qwen")
    assert arm.system_prompt == f"text of {tmp_path}/p.txt"


def test_a_system_prompt_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_bytes(b"\xff")
    text = BASE.replace('weights = "open"', f'weights = "open"\nsystem_prompt_file = "{tmp_path}/p.txt"')
    outside = Outside(text=lambda path: Path(path).read_text(encoding="utf-8"))
    with pytest.raises(ConfigError, match=r"arm\[qwen\]\.system_prompt_file: cannot be read"):
        compiled(text, outside)


# --- refusals ---------------------------------------------------------------------------------------------------------


BUDGETS = """[[budget]]
name = "company"
limit_usd = "10.5"
hard = true
window = "day"
time_zone = "Europe/Berlin"
per_user_usd = "0.0000000019"
[[budget]]
name = "support"
limit_usd = "1"
parent = "company"
[[team]]
name = "care"
budget = "support"
"""


def test_budgets_are_compiled_to_integers_and_never_to_more_than_was_written() -> None:
    company, support = compiled(BASE + BUDGETS).table.budgets
    assert (10_500_000_000, 1, True, "day Europe/Berlin") == (
        company.limit_nanousd, company.per_user_nanousd, company.hard, company.span,
    )  # fmt: skip
    assert ("company", False) == (support.parent, support.hard)


def test_a_key_without_a_budget_has_that_of_its_team() -> None:
    (key,) = compiled(BASE + 'team = "care"\n' + BUDGETS).table.keys
    assert "support" == key.budget
    (key,) = compiled(BASE + 'team = "care"\nbudget = "company"\n' + BUDGETS).table.keys
    assert "company" == key.budget


def test_a_budget_that_nothing_names_is_said() -> None:
    found = compiled(BASE + BUDGETS).warnings
    assert any("budget 'support' counts nothing" in warning for warning in found)
    assert not any("budget 'company'" in warning for warning in found)


def test_no_route_and_no_key_are_refused_with_the_next_step() -> None:
    with pytest.raises(ConfigError, match=r"add a \[\[route\]\]"):
        compiled(BASE.split("[[route]]")[0])
    with pytest.raises(ConfigError, match=r"add a \[\[key\]\]"):
        compiled(BASE.split("[[key]]")[0])


def test_a_trial_needs_no_client_key() -> None:
    assert compiled(BASE.split("[[key]]")[0], client_keys="present").table.keys == ()


def test_a_client_key_without_its_secret_is_refused_by_serve_and_left_out_for_a_trial() -> None:
    outside = Outside(secrets={"env:OPENAI_API_KEY": "x"})
    with pytest.raises(ConfigError, match=r"key\[app\]\.secret: the environment variable APP_KEY is not set"):
        compiled(outside=outside)
    left = compiled(outside=outside, client_keys="present")
    assert left.table.keys == ()
    assert any("'app' is left out" in warning for warning in left.warnings)


def test_two_keys_with_one_secret_are_refused_without_showing_it() -> None:
    outside = Outside(secrets={**SECRETS, "env:OTHER": "sk-app-CANARY"})
    with pytest.raises(ConfigError, match="same secret as that of key 'app'") as caught:
        compiled(BASE + '[[key]]\nname = "other"\nsecret = "env:OTHER"\n', outside)
    assert "CANARY" not in str(caught.value)


def test_the_name_that_trials_are_booked_on_is_not_for_clients() -> None:
    with pytest.raises(ConfigError, match=r"key\[trial\]"):
        compiled(BASE.replace('name = "app"', 'name = "trial"'))


def test_fallbacks_that_cannot_work_as_written_are_said() -> None:
    one = BASE.replace('slice_by = ["tag:task"]', 'fallbacks = ["qwen"]')
    elsewhere = one.replace("http://127.0.0.1:9000/v1", "https://own.example/v1")
    assert any("fallback 'qwen' gets no prompt" in warning for warning in compiled(elsewhere).warnings)
    assert not any("fallback" in warning for warning in compiled(one).warnings)
    assert compiled(one).table.routes[0].fallbacks == ("qwen",)
    third = '[[arm]]\nname = "third"\nendpoint = "own"\nmodel = "third"\n'
    two = third + one.replace('fallbacks = ["qwen"]', 'fallbacks = ["qwen", "third"]')
    assert any("2 fallbacks and retries_max = 1" in warning for warning in compiled(two).warnings)


def test_whether_a_cancel_stops_billing_is_known_of_the_provider_and_the_file_wins() -> None:
    def told(line: str, provider: str) -> bool | None:
        text = BASE.replace('provider = "openai"', f'provider = "{provider}"\n{line}')
        return compiled(text).table.endpoint("openai").cancel_stops_billing

    assert [True, False, None] == [told("", provider) for provider in ("openai", "groq", "unheard-of")]
    assert [False, True] == [told(f"cancel_stops_billing = {word}", "groq") for word in ("false", "true")]


def test_what_failed_calls_cost_is_known_of_the_provider_the_file_wins_and_own_hours_are_paid_anyway() -> None:
    def told(line: str, provider: str, more: str = "") -> str:
        text = BASE.replace('provider = "openai"', f'provider = "{provider}"\n{line}')
        return compiled(text + more).table.endpoint("openai").failed_calls

    assert ["refusals_unbilled", "unbilled", "processed_billed"] == [
        told("", provider) for provider in ("openai", "google", "azure")
    ]
    assert "unbilled" == told('failed_calls = "unbilled"', "azure")
    hours = (
        '[[commitment]]\nname = "gpus"\nendpoint = "openai"\nkind = "gpu_hours"\ngpus = 1\nusd_per_gpu_hour = "2"\n'
        'prefill_tokens_per_s = 1.0\ndecode_tokens_per_s = 1.0\nsince = "2026-11-01"\nsource = "contract"\n'
    )
    assert "unbilled" == told("", "azure", hours)


def test_how_long_answers_usually_are_is_part_of_the_route() -> None:
    usual = (UsualOutput(arm="gpt-4o", tokens=96),)
    table = compile_table(
        loads(BASE, folder=Path("/etc/wb")), number=7, now_ns=1, trial_key="", world=Outside().world(),
        usual={"assistant": usual, "another": usual},
    ).table  # fmt: skip
    assert [usual] == [route.usual_output for route in table.routes]


# --- warnings ---------------------------------------------------------------------------------------------------------


def test_a_candidate_that_the_send_gate_refuses_is_said_not_refused() -> None:
    text = BASE.replace("http://127.0.0.1:9000/v1", "https://llm.example.com/v1")
    assert any(
        "candidate 'qwen' gets no prompt" in w and "`region` is not stated" in w for w in compiled(text).warnings
    )


def test_an_unknown_price_is_said_and_stays_unknown() -> None:
    result = compiled(outside=Outside(prices={"qwen": PriceUnknown("nobody says")}))
    assert result.table.arm("qwen").price is None
    assert any("the cost of arm 'qwen' is unknown: nobody says" in warning for warning in result.warnings)


def test_a_missing_upstream_key_is_said_with_its_variable() -> None:
    result = compiled(outside=Outside(secrets={"env:APP_KEY": "x"}))
    assert any("'openai'" in warning and "OPENAI_API_KEY" in warning for warning in result.warnings)


def test_a_missing_key_of_an_endpoint_that_nothing_uses_is_not_said() -> None:
    unused = '[[endpoint]]\nname = "spare"\nbase_url = "https://spare.example.com/v1"\napi_key = "env:SPARE"\n'
    assert not any("spare" in warning for warning in compiled(BASE + unused).warnings)


def test_the_table_holds_until_the_first_price_may_change() -> None:
    def until(ns: int | None) -> PriceFound:
        return msgspec.structs.replace(PRICE, until_ns=ns)

    assert compiled().valid_until_ns is None
    assert compiled(outside=Outside(prices={"gpt-4o": until(50), "qwen": until(40)})).valid_until_ns == 40
