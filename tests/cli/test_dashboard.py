"""`weighbridge dashboard` and who it lets in: users of the store and nobody else."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from tests.app.serving import serving
from tests.keeper.processes import running_keeper, write_config
from weighbridge.app.looking import can_sign_in, invited
from weighbridge.cli import root
from weighbridge.cli.user import UsersShown
from weighbridge.errors import UsageError
from weighbridge.records.people import UserRow
from weighbridge.store.people_calls import AddUser, ChangeUser, ListUsers, UserList


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return write_config(tmp_path)


def test_where_serve_runs_it_says_where_its_pages_are_and_lets_people_in(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(config) as served:
        assert 0 == root.run(["dashboard", "--config", str(config), "--person", "ann:admin"])
        said = capsys.readouterr().out
        assert f"The pages are at http://{served.admin}/\n" in said
        assert re.search(rf"ann \(admin\) chooses a password, .*: http://{served.admin}/welcome/\S+\n", said)
        assert "Ctrl-C" not in said


def test_on_a_store_that_nothing_serves_it_serves_the_pages_and_ends_in_order(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [sys.executable, "-m", "weighbridge", "dashboard", "--config", str(config), "--person", "ann:viewer"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line.startswith("Stop with"):
                break
        process.send_signal(signal.SIGINT)
        assert 0 == process.wait(60), lines
    assert lines[0].startswith("The pages are at http://127.0.0.1:")
    assert 0 == root.run(["user", "list", "--json", "--config", str(config)])
    (ann,) = msgspec.json.decode(capsys.readouterr().out, type=UsersShown).users
    assert ("ann", "viewer", False) == (ann.name, ann.role, ann.password)


def test_while_nobody_may_sign_in_it_says_who_lets_the_first_one_in(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert 64 == root.run(["dashboard", "--config", str(config)])
    assert "`--person NAME:admin` lets the first one in" in capsys.readouterr().err


@pytest.mark.parametrize("person", ["ann", "ann:", ":admin", "ann:king", "ann:viewer,labeller"])
def test_a_person_is_a_name_and_one_role(config: Path, person: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert 64 == root.run(["dashboard", "--config", str(config), "--person", person])
    assert "--person" in capsys.readouterr().err


def test_who_is_let_in_is_a_user_like_any_other_and_gets_a_link_until_there_is_a_password(config: Path) -> None:
    with running_keeper(config) as keeper, keeper.client() as control:
        assert () == can_sign_in(control, "labeller")
        first, again = (invited(control, "ann", "labeller") for _ in range(2))
        assert first.link is not None
        assert again.link is not None
        assert first.link != again.link
        assert ("ann",) == can_sign_in(control, "labeller")
        control.call(ChangeUser(name="ann", password="$argon2id$a-hash"), UserRow)
        assert invited(control, "ann", "labeller").link is None
        assert ["ann"] == [row.name for row in control.call(ListUsers(), UserList).rows]


def test_letting_somebody_in_never_gives_them_more_than_they_have(config: Path) -> None:
    with running_keeper(config) as keeper, keeper.client() as control:
        control.call(AddUser(name="vera", role="viewer", password="$argon2id$a-hash"), UserRow)
        with pytest.raises(UsageError, match=r"vera is viewer, which is not enough for labeller"):
            invited(control, "vera", "labeller")
        control.call(ChangeUser(name="vera", disabled=True), UserRow)
        with pytest.raises(UsageError, match=r"vera is disabled; .* --enable"):
            invited(control, "vera", "viewer")
        assert () == can_sign_in(control, "viewer")
