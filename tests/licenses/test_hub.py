"""Terms by a model's card: what a card, a licence file and a base model make of the answer, and a hub that fails.

The hub is a small one on loopback; the library that speaks to it is the real huggingface_hub.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.hub import COMMIT, FakeHub, Repo
from tests.licenses.profiles import ON, org
from weighbridge.errors import UsageError
from weighbridge.licenses.check import check_parts
from weighbridge.licenses.hub import Card, HubError, Text, parts, read_card
from weighbridge.licenses.resolve import Recorded, Unknown, resolve

APACHE = (Path(__file__).resolve().parents[2] / "LICENSE").read_bytes()
WHO = org("internal", businesses=(), via="self_hosted", established_in=("SG",), users_in=("SG",))


PROFILE = """[organization]
roles = ["internal"]
commercial = true
established_in = ["SG"]
users_in = ["SG"]
use = { via = "self_hosted", businesses = [] }
"""


def checked(hub: str, query: str, **more: str) -> tuple[int, dict[str, Any], str]:
    """`license check --json` in a process of its own: the library reads HF_ENDPOINT when it is imported."""
    environment = os.environ | {"HF_ENDPOINT": hub, "HF_HUB_DISABLE_TELEMETRY": "1"} | more
    environment.pop("HF_TOKEN", None)
    command = (sys.executable, "-m", "weighbridge", "license", "check", query, "--on", ON, "--json")
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "us.toml").write_text(PROFILE)
        ran = subprocess.run(
            [*command, "--profile", "us.toml"],
            capture_output=True, text=True, check=False, env=environment, cwd=folder, timeout=60,
        )  # fmt: skip
    return ran.returncode, json.loads(ran.stdout), ran.stderr


def card(repo: str, license_: str | None, *texts: bytes, name: str | None = None, base: tuple[str, ...] = ()) -> Card:
    files = tuple(Text(name=f"LICENSE-{number}", content=text) for number, text in enumerate(texts))
    return Card(repo=repo, commit=COMMIT, license=license_, license_name=name, base_models=base, texts=files)


def verdict(*cards: Card) -> tuple[str, str | None, tuple[str, ...]]:
    def read(name: str) -> Card:
        found = next((one for one in cards if f"hf:{one.repo}" == name), None)
        if found is None:
            raise HubError(f"the hub has no {name}")
        return found

    made = check_parts(parts(f"hf:{cards[0].repo}", read), WHO, ON)
    return made.verdict, made.if_confirmed, made.terms


def test_a_licence_file_known_word_for_word_is_read_and_pinned_to_its_commit() -> None:
    with FakeHub({"lab/model": Repo({"license": "apache-2.0"}, {"LICENSE": APACHE})}) as hub:
        code, found, _ = checked(hub.url, "hf:lab/model")
    assert (0, ["apache-2.0"], "allowed") == (code, found["terms"], found["verdict"])
    (said,) = [one for one in found["reasons"] if one["clause"] == "card"]
    assert f"at commit {COMMIT}" in said["source"]
    assert sha256(APACHE).hexdigest() in said["text"]
    assert ["/api/models/lab/model", f"/lab/model/resolve/{COMMIT}/LICENSE"] == hub.asked


def test_a_revision_is_asked_for_by_name() -> None:
    with FakeHub({"lab/model": Repo({"license": "mit"})}) as hub:
        code, found, _ = checked(hub.url, f"hf:lab/model@{COMMIT}")
        assert [f"/api/models/lab/model/revision/{COMMIT}"] == hub.asked
    assert (2, "unclear", "allowed") == (code, found["verdict"], found["if_confirmed"])


@pytest.mark.parametrize(
    ("fails", "said"),
    [
        ({"status": 503}, "status 503"),
        ({}, "the hub has no lab/gone"),
    ],
)
def test_a_hub_that_refuses_is_an_answer(fails: dict[str, Any], said: str) -> None:
    with FakeHub({}, **fails) as hub:
        code, found, told = checked(hub.url, "hf:lab/gone")
    assert (2, "unclear", None, "") == (code, found["verdict"], found["if_confirmed"], told)
    assert said in found["reasons"][0]["text"]
    assert "--license-file" in found["questions"][0]


def test_offline_the_answer_says_so_and_what_is_recorded() -> None:
    code, found, told = checked("http://127.0.0.1:1", "hf:moonshotai/Kimi-K3", HF_HUB_OFFLINE="1")
    assert (2, "unclear", "") == (code, found["verdict"], told)
    assert "HF_HUB_OFFLINE" in found["reasons"][0]["text"]
    assert "weighbridge license check Kimi-K3" in found["questions"][0]
    code, found, _ = checked("http://127.0.0.1:1", "hf:lab/model")
    assert 2 == code
    assert "could not be read" in found["reasons"][0]["text"]


def test_a_hub_that_never_answers_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    with FakeHub({}, silent=True) as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        before = time.monotonic()
        with pytest.raises(HubError, match=r"no answer within 0\.2 s"):
            read_card("hf:lab/model", 0.2)
        assert time.monotonic() - before < 30


def test_a_gated_licence_file_is_not_taken_for_read(monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeHub({"lab/model": Repo({"license": "apache-2.0"}, {"LICENSE": APACHE}, gated=True)}) as hub:
        code, found, _ = checked(hub.url, "hf:lab/model")
    assert (2, "unclear", "allowed") == (code, found["verdict"], found["if_confirmed"])
    assert "status 403" in found["reasons"][0]["text"]


def test_a_tag_alone_is_hearsay_and_a_text_decides() -> None:
    assert ("unclear", "allowed", ("mit",)) == verdict(card("a/b", "mit"))
    assert ("unclear", "allowed", ("apache-2.0",)) == verdict(card("a/b", "apache-2.0", b"a text of our own"))
    assert ("allowed", None, ("apache-2.0",)) == verdict(card("a/b", "apache-2.0", APACHE))
    # The file counts; what the card names besides may only restrict.
    assert ("permission", None, ("apache-2.0", "cc-by-nc-4.0")) == verdict(card("a/b", "cc-by-nc-4.0", APACHE))


def test_other_without_a_known_text_is_unclear() -> None:
    for one in (card("a/b", "other"), card("a/b", None), card("a/b", "other", b"?"), card("a/b", "other", name="ours")):
        assert ("unclear", None, ("hf:a/b",)) == verdict(one)
    assert ("unclear", None, ("apache-2.0", "hf:a/b")) == verdict(card("a/b", "other", APACHE, b"and more"))


@pytest.mark.parametrize(
    ("license_", "name", "terms"),
    [
        ("llama3.1", None, ["llama-3.1"]),
        ("gemma", None, ["gemma-2024", "gemma-2025"]),
        ("other", "qwen-community-1.0", ["qwen-community-1.0"]),
        ("other", "kimi-k3", ["kimi-k3"]),
        ("other", "nvidia-open-model-license", ["nvidia-open-model-2025-04"]),
    ],
)
def test_the_hubs_own_names_for_licences_are_known(license_: str, name: str | None, terms: list[str]) -> None:
    found = parts("hf:a/b", lambda _: card("a/b", license_, name=name))
    assert terms == [part.terms.id for part in found if isinstance(part, Recorded)]
    assert all(isinstance(part, Recorded) and part.confidence == "reported" for part in found)


def test_what_a_model_was_made_from_keeps_its_terms() -> None:
    word, _, terms = verdict(card("a/distilled", "mit", base=("meta-llama/Llama-3.1-8B",)))
    assert ("unclear", ("mit", "llama-3.1")) == (word, terms)
    chain = [card(f"a/m{n}", "apache-2.0", APACHE, base=(f"a/m{n + 1}",)) for n in range(9)]
    word, _, terms = verdict(*chain)
    assert "unclear" == word  # nobody follows a chain for ever, and what was not looked up is not permitted
    assert ("allowed", None, ("apache-2.0",)) == verdict(
        card("a/x", "apache-2.0", APACHE, base=("a/y",)), card("a/y", "apache-2.0", APACHE, base=("a/x",))
    )
    word, _, terms = verdict(card("a/x", "apache-2.0", APACHE, base=("a/gone",)))
    assert ("unclear", ("apache-2.0", "hf:a/gone")) == (word, terms)


def test_the_hub_is_asked_only_where_a_card_is_asked_for() -> None:
    (part,) = resolve("hf:a/b")
    assert isinstance(part, Unknown)
    assert "license check hf:a/b" in part.next_step

    def nobody(name: str) -> Card:
        raise AssertionError(f"asked for {name}")

    assert isinstance(parts("kimi-k3 + mit", nobody)[0], Recorded)


@pytest.mark.parametrize("name", ["hf:", "hf:model", "hf:a/b/c", "hf:a/b@"])
def test_what_names_no_repository_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="hf:OWNER/NAME"):
        parts(name)


def test_a_card_is_mirrored_at_its_commit_and_watched_for_changes(tmp_path: Path) -> None:
    repo = Repo({"license": "other", "license_name": "ours"}, {"LICENSE": b"Up to US$20 million it is free."})

    def ran(*arguments: str) -> tuple[int, dict[str, Any]]:
        environment = os.environ | {"HF_ENDPOINT": hub.url}
        command = [sys.executable, "-m", "weighbridge", "license", *arguments, "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=tmp_path)
        return done.returncode, json.loads(done.stdout)

    with FakeHub({"lab/model": repo}) as hub:
        _, made = ran("mirror", "Lab", "--license", "hf:lab/model")
        (file,) = made["models"][0]["files"]
        assert (f"hf:lab/model@{COMMIT} LICENSE", "licence", []) == (
            file["source"], file["role"], made["models"][0]["terms"],
        )  # fmt: skip
        assert 0 == ran("watch", "--accept", "--source", "lab=hf:lab/model")[0]
        repo.commit = COMMIT[::-1]  # another commit that changes nothing about the licence is no news
        assert 0 == ran("watch")[0]
        repo.files["LICENSE"] = b"Up to US$5 million it is free."
        code, seen = ran("watch")
    assert 2 == code
    assert "US$5 million" in seen["news"][0]["sentence"]
