"""`weighbridge license` as a person and a script use it."""

import io
import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from weighbridge.cli.root import run as run_command

PROFILE = """
[organization]
roles = ["product"]
commercial = true
established_in = ["DE"]
users_in = ["DE"]
[organization.revenue_usd]
entity_year = 25000000
[organization.users_monthly]
product = 1000
all_products_on = { "2024-07-23" = 1000 }
[organization.use]
via = "self_hosted"
businesses = []
"""


class Ran(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


@pytest.fixture(autouse=True)
def _terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    global _said, _patch
    _said, _patch = capsys, monkeypatch


_said: pytest.CaptureFixture[str]
_patch: pytest.MonkeyPatch


@pytest.fixture
def us(tmp_path: Path) -> Path:
    (tmp_path / "us.toml").write_text(PROFILE)
    return tmp_path


def run(folder: Path, *arguments: str, typed: str = "") -> Ran:
    """The command in this process, in `folder`, with `typed` on its standard input."""
    _patch.chdir(folder)
    _patch.setattr(sys, "stdin", io.StringIO(typed))
    _said.readouterr()
    code = run_command(["license", *arguments])
    return Ran(code, *_said.readouterr())


def read(ran: Ran, code: int = 0) -> dict[str, Any]:
    assert code == ran.returncode, ran.stderr
    (line,) = ran.stdout.splitlines()
    found: dict[str, Any] = json.loads(line)
    return found


def test_check_prints_the_documented_json_and_nothing_else(us: Path) -> None:
    ran = run(us, "check", "minimax-m3-community", "--profile", "us.toml", "--on", "2026-11-23", "--json")
    found = read(ran)
    assert ["terms", "verdict", "obligations", "reasons", "questions", "if_confirmed", "on"] == list(found)
    assert (["minimax-m3-community"], "permission", None, "2026-11-23") == (
        found["terms"], found["verdict"], found["if_confirmed"], found["on"],
    )  # fmt: skip
    assert {"kind", "text", "clause"} == set(found["obligations"][0])
    assert {"text", "clause", "source", "confidence"} == set(found["reasons"][0])
    assert [] == found["questions"]


def test_a_profile_file_needs_no_other_configuration_and_via_overrides_it(us: Path) -> None:
    (us / "us.toml").write_text(PROFILE.replace("businesses = []", 'businesses = ["model_service"]'))
    (us / "us.toml").write_text((us / "us.toml").read_text().replace("entity_year", "group_12_months"))
    own = read(run(us, "check", "kimi-k3", "--profile", "us.toml", "--json"))
    assert "permission_fee_expected" == own["verdict"]
    partner = read(run(us, "check", "kimi-k3", "--profile", "us.toml", "--via", "certified_partner", "--json"))
    assert "allowed" == partner["verdict"]


def test_unclear_ends_with_2_and_asks(us: Path) -> None:
    found = read(run(us, "check", "other", "--profile", "us.toml", "--json"), code=2)
    assert "unclear" == found["verdict"]
    assert found["questions"]


def test_a_gate_stops_what_is_not_permitted(us: Path) -> None:
    assert 3 == run(us, "check", "minimax-m3-community", "--profile", "us.toml", "--gate").returncode
    assert 0 == run(us, "check", "qwen-2024", "--profile", "us.toml", "--gate").returncode
    assert 2 == run(us, "check", "gpt-oss", "--profile", "us.toml", "--gate").returncode


def test_the_text_says_verdict_why_what_to_do_and_what_it_is_not(us: Path) -> None:
    said = run(us, "check", "Llama-3.1-8B-Instruct", "--profile", "us.toml").stdout
    for part in (
        "obligations",
        "Why",
        "To do",
        'Show this text: "Built with Llama"',
        "clause 1.b.i",
        "not legal advice",
    ):
        assert part in said
    assert "\x1b" not in said


def test_what_no_record_holds_of_a_supplier_is_said_to_be_unknown(us: Path) -> None:
    said = run(us, "check", "kimi-k2", "--profile", "us.toml").stdout
    assert "Indemnity and named support: unknown" in " ".join(said.split())


def test_without_a_role_the_text_lists_them_all(tmp_path: Path) -> None:
    said = run(tmp_path, "check", "mit").stdout
    assert "product: allowed" in said
    assert "distributor: obligations" in said


def test_a_licence_file_is_found_by_its_hash(us: Path) -> None:
    (us / "LICENSE").write_text("some text that nobody recorded")
    found = read(run(us, "check", "--license-file", "LICENSE", "--profile", "us.toml", "--json"), code=2)
    assert "sha256" in found["reasons"][0]["text"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("check", "mit", "--on", "yesterday"), "YYYY-MM-DD"),
        (("check", "mit", "--profile", "none.toml"), "does not exist"),
        (("check", "mit + "), "names no model or terms"),
        (("check", "mit", "--arm", "q"), "leave MODEL_OR_TERMS"),
        (("check", "mit", "--via", "post"), "licensor_api"),
        (("matrix", "--role", "king"), "allowed are personal"),
        (("diff", "kimi-k3"), "--family NAME"),
        (("diff", "kimi-k3", "other"), "names no text"),
        (("diff", "--family", "nobody"), "minimax"),
        (("obligations", "mit", "--check", "nowhere"), "neither a folder nor a page"),
    ],
)
def test_slips_end_with_64_and_say_what_is_allowed(us: Path, arguments: tuple[str, ...], says: str) -> None:
    ran = run(us, *arguments)
    assert 64 == ran.returncode
    assert says in " ".join(ran.stderr.replace("│", " ").split())
    assert "Traceback" not in ran.stderr


def test_arms_of_the_configuration_are_checked_with_its_organization(us: Path) -> None:
    (us / "weighbridge.toml").write_text(
        """
        [[endpoint]]
        name = "gpu"
        base_url = "http://127.0.0.1:9/v1"
        [[arm]]
        name = "llama"
        endpoint = "gpu"
        model = "Llama-4-Scout-17B-16E-Instruct"
        weights = "open"
        [[arm]]
        name = "granite"
        endpoint = "gpu"
        model = "granite"
        weights = "open"
        terms = "Apache-2.0"
        """
        + PROFILE
    )
    found = read(run(us, "check", "--json"))
    assert [("llama", "llama-4", "prohibited"), ("granite", "Apache-2.0", "allowed")] == [
        (row["arm"], row["terms"], row["verdict"]) for row in found["findings"]
    ]


def test_the_matrix_is_one_row_for_each_model(us: Path) -> None:
    found = read(run(us, "matrix", "Kimi-K3", "Llama 4", "--role", "product", "--profile", "us.toml", "--json"))
    assert {"Llama 4": "prohibited", "Kimi-K3": "allowed"} == {
        row["name"]: row["roles"]["product"]["verdict"] for row in found["rows"]
    } | {"Kimi-K3": "allowed"}
    lines = run(us, "matrix", "--profile", "us.toml").stdout.splitlines()
    assert len(lines) > 100
    assert {12} == {len(line.split("\t")) for line in lines}


def test_diff_tells_two_texts_and_a_family(us: Path) -> None:
    found = read(run(us, "diff", "kimi-k2-modified-mit", "kimi-k3", "--json"))
    assert "tightened" in {one["direction"] for one in found["differences"]}
    said = run(us, "diff", "--family", "all").stdout.splitlines()
    assert 66 == len(said)


def test_profile_asks_until_nothing_more_matters_and_prints_toml(tmp_path: Path) -> None:
    open_ = read(run(tmp_path, "profile", "--for", "llama-4", "--json"), code=2)
    assert "organization.roles" == open_["questions"][0]["field"]
    ran = run(tmp_path, "profile", "--for", "exaone-1.1-nc", "--ask", typed="king\nproduct\nyes\n")
    assert 0 == ran.returncode, ran.stderr
    assert "'king'" in ran.stderr
    assert ran.stdout.endswith('[organization]\nroles = ["product"]\ncommercial = true\n')


def test_obligations_are_written_once_and_checked_where_they_must_be_shown(us: Path) -> None:
    found = read(run(us, "obligations", "llama-3.1", "--profile", "us.toml", "--out", "kit", "--json"))
    assert "kit/NOTICE" in found["files"]
    again = run(us, "obligations", "llama-3.1", "--profile", "us.toml", "--out", "kit")
    assert (64, True) == (again.returncode, "--force" in again.stderr)
    (us / "site").mkdir()
    missing = read(run(us, "obligations", "llama-3.1", "--profile", "us.toml", "--check", "site", "--json"), code=2)
    assert [None] == [place["found_in"] for place in missing["texts"]]
    (us / "site" / "index.html").write_text("<p>Built with Llama</p>")
    assert 0 == run(us, "obligations", "llama-3.1", "--profile", "us.toml", "--check", "site").returncode


def test_watch_tells_a_moved_line_and_keeps_what_was_accepted(us: Path) -> None:
    (us / "LICENSE").write_text("Above US$20 million a month, show the name.")
    assert 2 == run(us, "watch", "kimi-k3").returncode
    assert 0 == run(us, "watch", "--accept", "--source", "kimi-k3=LICENSE").returncode
    assert ["kimi-k3"] == read(run(us, "watch", "--json"))["unchanged"]
    (us / "LICENSE").write_text("Above US$10 million a month, show the name.")
    (news,) = read(run(us, "watch", "--json"), code=2)["news"]
    assert "figures gone: US$20 million; figures new: US$10 million" in news["sentence"]
    (us / "LICENSE").unlink()
    assert "cannot be read any more" in run(us, "watch").stdout


def test_growth_tells_the_lines_ahead(us: Path) -> None:
    (us / "us.toml").write_text(PROFILE.replace("product = 1000", "product = 90000000"))
    said = run(us, "check", "qwen-2024", "--profile", "us.toml", "--growth", "0.1", "--on", "2026-11-23").stdout
    assert "reaches 100 million users in about 2 months (2027-01)" in said
    assert 64 == run(us, "check", "qwen-2024", "--profile", "us.toml", "--growth", "0").returncode
