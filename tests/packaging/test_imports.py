"""Importing the package does nothing but define things (promise 30): no network, no process, nothing written."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.promise(30)

WATCHER = Path(__file__).with_name("import_all.py")


def import_all(package: str, folder: Path | None = None) -> tuple[list[str], list[list[str]]]:
    """(modules imported, [module, event, what] for everything that an import tried to do)."""
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    if folder is not None:
        environment["PYTHONPATH"] = str(folder)
    ran = subprocess.run(
        [sys.executable, str(WATCHER), package], capture_output=True, text=True, env=environment, check=False
    )
    assert 0 == ran.returncode, ran.stderr
    said = json.loads(ran.stdout)
    return said["imported"], said["did"]


def test_importing_every_module_touches_no_network_starts_no_process_and_writes_no_file() -> None:
    imported, did = import_all("weighbridge")
    assert len(imported) > 50
    assert [] == did


@pytest.mark.parametrize(
    ("line", "event"),
    [
        ("import socket; socket.socket().connect_ex(('127.0.0.1', 9))", "socket.connect"),
        ("import subprocess; subprocess.run(['true'])", "subprocess.Popen"),
        ("import os; os.system('true')", "os.system"),
        ("open(__file__ + '.new', 'w')", "open"),
    ],
)
def test_the_watcher_sees_a_module_that_acts_when_imported(tmp_path: Path, line: str, event: str) -> None:
    (tmp_path / "planted").mkdir()
    (tmp_path / "planted" / "__init__.py").write_text("")
    (tmp_path / "planted" / "quiet.py").write_text("VALUE = 1\n")
    (tmp_path / "planted" / "rude.py").write_text(line + "\n")
    imported, did = import_all("planted", tmp_path)
    assert ["planted", "planted.quiet", "planted.rude"] == imported
    assert ("planted.rude", event) in {(module, seen) for module, seen, _ in did}
