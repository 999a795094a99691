"""The configuration file: every mistake names file, key, value and what is allowed."""

import re
from pathlib import Path

import pytest

from weighbridge.config import load, loads, parse_address
from weighbridge.errors import ConfigError

GOOD = """
[server]
listen = "127.0.0.1:8400"
workers = 2

[capture]
bodies = true
purpose = "try open models"
approved_by = "somebody"
encrypt_key = "file:master.key"

[[endpoint]]
name = "openai"
base_url = "https://api.openai.com/v1"
api_key = "env:OPENAI_API_KEY"
retention_days = 30

[[arm]]
name = "gpt-4o"
endpoint = "openai"
model = "gpt-4o-2024-08-06"
weights = "closed"

[[arm]]
name = "qwen"
endpoint = "openai"
model = "qwen"
price = { input = "0.35", output = "0.40", cache_read = "0.05" }

[[route]]
name = "assistant"
aliases = ["gpt-4o"]
incumbent = "gpt-4o"
candidates = ["qwen"]
slice_by = ["tag:task", "key"]
allow_retention_days = "any"

[[grader]]
route = "assistant"
kind = "label"
labels = ["a", "b"]

[[team]]
name = "support"

[[key]]
name = "bot"
team = "support"
secret = "env:BOT_KEY"
routes = ["assistant"]
budget = "all"

[[budget]]
name = "all"
limit_usd = "100.00"
time_zone = "Europe/Berlin"

[organization]
roles = ["product"]
commercial = true
[organization.revenue_usd]
product_year = ["0", "20000000"]
[organization.users_monthly]
all_products_on = { "2025-04-05" = 7 }
"""


def test_a_full_configuration_is_read_into_one_typed_tree() -> None:
    config = loads(GOOD).config
    assert config.server.workers == 2
    assert config.arm[1].price is not None
    assert config.arm[1].price.cache_read == "0.05"
    assert config.route[0].allow_retention_days == "any"
    assert config.route[0].allow_training_on_data is False
    assert config.organization.revenue_usd.product_year == ("0", "20000000")


def test_an_empty_file_has_every_default() -> None:
    config = loads("").config
    assert (config.server.listen, config.server.workers, config.store.path) == ("127.0.0.1:8400", 1, "weighbridge-data")
    assert config.capture.bodies is False


def test_absent_data_terms_are_unknown_not_zero() -> None:
    endpoint = loads('[[endpoint]]\nname = "a"\nbase_url = "http://a.example"\n').config.endpoint[0]
    assert (endpoint.region, endpoint.retention_days, endpoint.trains_on_data) == (None, None, None)


def edited(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD.replace(old, new, 1)


BAD = {
    "an unknown key, with the nearest": (
        edited("workers = 2", "worker = 2"),
        r"server\.worker: unknown key; did you mean 'workers'\?",
    ),
    "an unknown table": (edited("[[team]]", "[[teem]]"), r"wb\.toml: teem: unknown key; did you mean 'team'\?"),
    "an unknown key of a row, by the row's name": (
        edited('weights = "closed"', 'weigths = "closed"'),
        r"arm\[gpt-4o\]\.weigths: unknown key; did you mean 'weights'",
    ),
    "an unknown key inside a price": (edited("cache_read", "cached"), r"arm\[qwen\]\.price\.cached: unknown key"),
    "a wrong type": (
        edited("workers = 2", 'workers = "2"'),
        r"server\.workers: must be a whole number, not a text in quotes \(found '2'\)",
    ),
    "a wrong type of a key that may be absent": (
        edited('base_url = "https://api', 'region = 5\nbase_url = "https://api'),
        r"endpoint\[openai\]\.region: must be a text in quotes, not a whole number \(found 5\)",
    ),
    "a wrong word": (edited('"closed"', '"shut"'), r"arm\[gpt-4o\]\.weights: .*'shut'"),
    "a missing key": (edited('model = "qwen"\n', ""), r"arm\[qwen\]: .*required field `model`"),
    "too many workers": (
        edited("workers = 2", "workers = 0"),
        r"server\.workers: is out of range \(found 0\)\. Allowed: 1 to 256",
    ),
    "an address without a port": (edited("127.0.0.1:8400", "localhost"), r"server\.listen: .*'localhost'.*HOST:PORT"),
    "a port that is none": (edited("127.0.0.1:8400", "127.0.0.1:65536"), r"server\.listen: .*65536"),
    "an API that only cloud hosts have": (
        edited('base_url = "https://api', 'speaks = "anthropic"\nbase_url = "https://api'),
        r"endpoint\[openai\]\.speaks: means nothing for dialect 'openai'",
    ),
    "a dated version of an undated API": (
        edited('api_key = "env', 'dialect = "azure"\nspeaks = "anthropic"\napi_version = "2024-10-21"\napi_key = "env'),
        r"endpoint\[openai\]\.api_version: has no 'anthropic' API",
    ),
    "a key of another cloud": (
        edited('base_url = "https://api', 'signing_region = "us-east-1"\nbase_url = "https://api'),
        r"endpoint\[openai\]\.signing_region: means nothing for dialect 'openai'",
    ),
    "a key of TLS without TLS": (
        edited('base_url = "https://api', 'client_key = "gateway.key"\nbase_url = "https://api'),
        r"endpoint\[openai\]\.client_key: means nothing without client_cert",
    ),
    "a client authority without a certificate": (
        edited("workers = 2", 'tls_client_ca = "ca.pem"'),
        r"server\.tls_client_ca: means nothing without server\.tls_cert",
    ),
    "a store elsewhere": (
        edited("[capture]", '[store]\nlog = "s3://bucket/log"\n[capture]'),
        r"store\.log: .*local files only",
    ),
    "capture without a purpose": (edited('purpose = "try open models"', ""), r"capture\.purpose: must say something"),
    "capture without an approver": (
        edited('approved_by = "somebody"', 'approved_by = " "'),
        r"capture\.approved_by: must say",
    ),
    "a sample over one": (edited("[capture]", "[capture]\nsample = 1.5"), r"capture\.sample: .*1\.5.*0\.0 to 1\.0"),
    "an unknown redaction": (edited("[capture]", '[capture]\nredact = ["pii"]'), r"capture\.redact: .*'pii'.*secrets"),
    "no day of keeping": (edited("[capture]", "[capture]\nkeep_days = 0"), r"keep_days: .*found 0.*1 to 36500"),
    "longer than anybody keeps": (
        edited("[capture]", "[capture]\nkeep_rows_days = 99999999999999999999999"),
        r"capture\.keep_rows_days: is out of range",
    ),
    "a rate that lets nobody in": (
        edited("secret = ", "requests_per_minute = 0\nsecret = "),
        r"key\[bot\]\.requests_per_minute: is out of range \(found 0\)\. Allowed: 1 to ",
    ),
    "an unknown fallback": (
        edited("incumbent = ", 'fallbacks = ["qwem"]\nincumbent = '),
        r"fallbacks: names something unknown; did you mean 'qwen'",
    ),
    "a fallback twice": (
        edited("incumbent = ", 'fallbacks = ["qwen", "qwen"]\nincumbent = '),
        r"fallbacks: names an arm twice",
    ),
    "more retries than anybody needs": (
        edited("incumbent = ", "retries_max = 11\nincumbent = "),
        r"retries_max: is out of range \(found 11\)\. Allowed: 0 to 10",
    ),
    "a failure that nobody knows": (
        edited("incumbent = ", 'retry_on = ["4xx"]\nincumbent = '),
        r"retry_on: is not known \(found '4xx'\)\. Allowed: connect, 429, 5xx",
    ),
    "a wait that is none": (
        edited("incumbent = ", "retry_wait_s_max = nan\nincumbent = "),
        r"retry_wait_s_max: is out of range",
    ),
    "fewer places than workers": (
        edited('base_url = "https://api', 'concurrency_max = 1\nbase_url = "https://api'),
        r"endpoint\[openai\]\.concurrency_max: is out of range \(found 1\)\. Allowed: 2 to .*takes its part",
    ),
    "a dialect that nobody knows": (
        edited('base_url = "https://api', 'dialect = "cohere"\nbase_url = "https://api'),
        r"endpoint\[openai\]\.dialect: invalid enum value 'cohere'",
    ),
    "a base URL with a query": (edited("com/v1", "com/v1?a=b"), r"endpoint\[openai\]\.base_url: must not hold a \?"),
    "a base URL without a host": (edited("https://api", "https:api"), r"endpoint\[openai\]\.base_url: is not a base"),
    "a base URL with half an address": (edited("https://api", "https://[::1"), r"endpoint\[openai\]\.base_url: is not"),
    "a base URL with a password": (edited("https://api", "https://me:pw@api"), r"endpoint\[openai\]\.base_url"),
    "a base URL with a bad port": (edited("com/v1", "com:99999/v1"), r"endpoint\[openai\]\.base_url: .*Port out"),
    "an endpoint that is not there": (
        edited('endpoint = "openai"', 'endpoint = "opnai"'),
        r"arm\[gpt-4o\]\.endpoint: names something unknown; did you mean 'openai'\? \(found 'opnai'\)",
    ),
    "a price that is no number": (edited('"0.35"', '"cheap"'), r"arm\[qwen\]\.price\.input: 'cheap' is not an amount"),
    "a negative price": (edited('"0.35"', '"-1"'), r"arm\[qwen\]\.price\.input: '-1' must be 0 to 1,000,000"),
    "a price past all prices": (
        edited('"0.35"', '"1e999999"'),
        r"arm\[qwen\]\.price\.input: '1e999999' must be 0 to 1,000,000 USD",
    ),
    "a prompt file that is not there": (
        edited('model = "qwen"', 'model = "qwen"\nsystem_prompt_file = "nope.txt"'),
        r"arm\[qwen\]\.system_prompt_file: is not a file .*nope\.txt",
    ),
    "an incumbent that is not there": (
        edited('incumbent = "gpt-4o"', 'incumbent = "x"'),
        r"route\[assistant\]\.incumbent",
    ),
    "the incumbent as its own candidate": (
        edited('candidates = ["qwen"]', 'candidates = ["gpt-4o"]'),
        r"route\[assistant\]\.candidates: holds the incumbent itself",
    ),
    "an alias taken twice": (
        GOOD + '[[route]]\nname = "other"\naliases = ["gpt-4o"]\nincumbent = "qwen"\n',
        r"route\[other\]\.aliases: 'gpt-4o' is already taken by route 'assistant'",
    ),
    "an unknown slice key": (edited('"key"]', '"mood"]'), r"route\[assistant\]\.slice_by: .*'mood'.*tag:NAME"),
    "a negative retention": (edited('= "any"', "= -1"), r"route\[assistant\]\.allow_retention_days"),
    "an unknown grader": (edited('kind = "label"', 'kind = "labels"'), r"grader\[0\]\.kind: .*did you mean 'label'"),
    "a grader of no route": (
        edited('[[grader]]\nroute = "assistant"', '[[grader]]\nroute = "x"'),
        r"grader\[0\]\.route",
    ),
    "a key of no team": (edited('team = "support"', 'team = "sales"'), r"key\[bot\]\.team: .*Allowed: support"),
    "a key of no budget": (edited('budget = "all"', 'budget = "none"'), r"key\[bot\]\.budget"),
    "a key for no route": (edited('routes = ["assistant"]', 'routes = ["x"]'), r"key\[bot\]\.routes"),
    "a budget that is no amount": (
        edited('"100.00"', '"lots"'),
        r"budget\[all\]\.limit_usd: is not an amount \(found 'lots'\)",
    ),
    "a budget in a circle": (
        edited('name = "all"\n', 'name = "all"\nparent = "all"\n'),
        r"budget\[all\]\.parent: a budget cannot contain itself: all in all",
    ),
    "a budget named like those of tokens": (
        edited('name = "all"\n', 'name = "trial-token"\n').replace('budget = "all"', 'budget = "trial-token"'),
        r"budget\[trial-token\]: this name is kept",
    ),
    "a budget past all budgets": (edited('"100.00"', '"1e999999"'), r"budget\[all\]\.limit_usd: .*at most 1000000000"),
    "a time zone that is none": (
        edited("Europe/Berlin", "CET+1"),
        r"budget\[all\]\.time_zone: is not an IANA time zone",
    ),
    "a name twice": (GOOD + '[[team]]\nname = "support"\n', r"team\[support\]: is there twice"),
    "a name with a space": (
        edited('[[team]]\nname = "support"', '[[team]]\nname = "sup port"'),
        r"team\.name: is not a name",
    ),
    "an unknown role": (edited('"product"', '"king"'), r"organization\.roles: .*'king'"),
    "a limit of nothing": (
        edited("[capture]", "[limits]\nconnect_s_max = 0\n[capture]"),
        r"limits\.connect_s_max: is out of range \(found 0\.0\)\. Allowed: a number over 0, at most 86400",
    ),
    "a limit that is no number": (
        edited("[capture]", "[limits]\nconnect_s_max = nan\n[capture]"),
        r"limits\.connect_s_max: is out of range \(found nan\)\. Allowed: a number over 0, at most 86400",
    ),
    "a limit without an end": (
        edited("[capture]", "[limits]\nfirst_byte_s_max = inf\n[capture]"),
        r"limits\.first_byte_s_max: is out of range \(found inf\)\. Allowed: a number over 0, at most 86400",
    ),
    "a body of more than a GiB": (
        edited("[capture]", "[limits]\nbody_bytes_max = 99999999999999999999999\n[capture]"),
        r"limits\.body_bytes_max: is out of range .*Allowed: 1 to 1073741824 \(bytes: 1 GiB\)",
    ),
    "more connections than there are": (
        edited("[capture]", "[limits]\nclient_connections_max = 1000001\n[capture]"),
        r"limits\.client_connections_max: is out of range .*Allowed: 1 to 1000000",
    ),
    "a default of no tokens": (
        edited("slice_by", "max_tokens_default = 0\nslice_by"),
        r"route\[assistant\]\.max_tokens_default",
    ),
    "no TOML": ("listen = ", r"wb\.toml: file: is not TOML"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_mistake_names_file_key_value_and_what_is_allowed(what: str) -> None:
    text, words = BAD[what]
    with pytest.raises(ConfigError) as caught:
        loads(text, file="wb.toml")
    assert re.search(words, str(caught.value)), str(caught.value)
    assert str(caught.value).startswith("wb.toml: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["api_key", "secret", "encrypt_key"])
def test_a_secret_written_into_the_file_is_refused_and_not_shown(key: str) -> None:
    text = re.sub(rf'{key} = "[a-z]+:[^"]*"', f'{key} = "sk-CANARY-1234"', GOOD)
    assert "CANARY" in text
    with pytest.raises(ConfigError, match=rf"{key}: must be a reference, not a secret") as caught:
        loads(text)
    assert "CANARY" not in str(caught.value)


@pytest.mark.parametrize("url", ["https://me:CANARY@h/v1", "https://:CANARY@h", "CANARY@h", "https://h/v1?key=CANARY"])
def test_a_password_in_a_base_url_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(ConfigError, match=r"base_url: must not hold") as caught:
        loads(edited("https://api.openai.com/v1", url))
    assert "CANARY" not in str(caught.value)


def test_a_secret_of_the_wrong_type_is_not_shown() -> None:
    with pytest.raises(ConfigError, match=r"key\[bot\]\.secret: must be a text in quotes") as caught:
        loads(re.sub(r'secret = "[^"]*"', "secret = 987654321", GOOD))
    assert "987654321" not in str(caught.value)


@pytest.mark.parametrize("name", ["tab\t", "qu'ote", "back\\\\slash", "esc\\u001b", "over\\u202eride", "..", ""])
def test_a_name_of_other_characters_is_refused_with_what_is_allowed(name: str) -> None:
    with pytest.raises(ConfigError, match=r"team\.name: is not a name .*any visible characters but spaces, / "):
        loads(edited('[[team]]\nname = "support"', f'[[team]]\nname = "{name}"'))


def test_a_file_that_is_not_there_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"wb\.toml: file: does not exist; `weighbridge init` writes one"):
        load(tmp_path / "wb.toml")


def test_a_file_that_is_no_text_is_an_error_not_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "wb.toml").write_bytes(b"# one\n# tw\xff\n")
    with pytest.raises(ConfigError, match=r"wb\.toml: file: is not UTF-8 text \(line 2\); save it as UTF-8"):
        load(tmp_path / "wb.toml")


def test_paths_are_taken_from_the_folder_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "wb.toml").write_text(GOOD)
    loaded = load(tmp_path / "wb.toml")
    assert loaded.store_path == tmp_path / "weighbridge-data"
    assert loaded.path("/etc/x") == Path("/etc/x")


@pytest.mark.parametrize(
    ("text", "address"),
    [("127.0.0.1:0", ("127.0.0.1", 0)), ("[::1]:8400", ("::1", 8400)), ("gateway.local:80", ("gateway.local", 80))],
)
def test_an_address_is_host_and_port(text: str, address: tuple[str, int]) -> None:
    assert parse_address("f", "k", text) == address
