"""`weighbridge user | token | audit`, and what `verify` makes of the book of changes."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.keeper.processes import running_keeper, write_config
from weighbridge.store.database import Database
from weighbridge.store.layout import Layout

PASSWORD = "correct horse battery staple"


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_config(tmp_path_factory.mktemp("people"))


def run(file: Path, *arguments: str, typed: str = "") -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "weighbridge", *arguments, "--config", str(file)],
        input=typed, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def read(file: Path, *arguments: str, typed: str = "") -> Any:
    done = run(file, *arguments, "--json", typed=typed)
    assert 0 == done.returncode, done.stderr
    return json.loads(done.stdout)


def test_people_and_tokens_are_looked_after_and_everything_is_in_a_book_that_verify_checks(file: Path) -> None:
    with running_keeper(file) as keeper:  # one for all commands: each would start its own
        short = run(file, "user", "create", "ann", "--role", "admin", typed="short\n")
        assert (64, True) == (short.returncode, "15 to 200 characters, this one 5" in short.stderr)
        assert 64 == run(file, "user", "create", "ann", "--role", "owner", typed=PASSWORD).returncode
        assert 64 == run(file, "user", "create", "ann", "--role", "admin").returncode, "no password is no password"
        made = read(file, "user", "create", "ann", "--role", "admin", typed=f"{PASSWORD}\n")
        assert ("ann", "admin", True, None) == (made["name"], made["role"], made["password"], made["link"])
        link = read(file, "user", "create", "bob", "--role", "viewer", "--link")["link"]
        assert "/welcome/" in link
        token = read(file, "token", "create", "ann", "--label", "ci", "--role", "operator")
        assert token["token"].startswith("wba-")
        assert 0 == run(file, "token", "revoke", token["id"]).returncode
        assert 0 == run(file, "user", "change", "bob", "--disable").returncode
        assert ["ann", "bob"] == [one["name"] for one in read(file, "user", "list")["users"]]
        assert read(file, "token", "list")["tokens"][0]["revoked"] is not None
        book = read(file, "audit")["entries"]
        assert ["user change", "token revoke", "token create", "user create", "user create"] == [
            one["action"] for one in book
        ]
        assert {"command"} == {one["via"] for one in book}
        for canary in (PASSWORD, token["token"], link.rpartition("/")[2], "argon2"):
            assert canary not in json.dumps(book)
        verified = read(file, "verify")
        assert (True, 5) == (verified["ok"], verified["audit_entries"])
        keeper.end()
    # By its own connection, which renews the checksums of pages: those would find a cruder edit before.
    database = Database(Layout(file.parent / "weighbridge-data").database)
    database._db.execute(
        "UPDATE audit SET body = CAST(replace(CAST(body AS TEXT), 'login:', 'nobody') AS BLOB) WHERE seq = 2"
    )
    database.close()
    edited = run(file, "verify")
    assert 1 == edited.returncode
    assert "book of changes, entry 2: it was changed after it was signed" in edited.stdout


def test_what_cannot_be_is_said_with_what_can(tmp_path: Path) -> None:
    file = write_config(tmp_path)
    with running_keeper(file):
        unknown = run(file, "token", "create", "nobody", "--label", "x")
        assert (1, True) == (unknown.returncode, "there is no user 'nobody'" in unknown.stderr)
        assert 64 == run(file, "user", "change", "nobody").returncode
        team = run(file, "user", "create", "ann", "--role", "viewer", "--team", "blue", "--link")
        assert (1, True) == (team.returncode, "the configuration has no team 'blue'" in team.stderr)
