"""The documentation: every page is on the site, and the first one does what it says."""

import importlib.util
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
DOCS = REPOSITORY / "docs"
BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)


def conf() -> ModuleType:
    found = importlib.util.spec_from_file_location("conf", DOCS / "conf.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def test_every_page_is_in_the_navigation_of_the_site() -> None:
    made = conf()
    index, runbooks = DOCS / "README.md", DOCS / "runbooks" / "README.md"
    shown = made.toctrees(index.read_text(), "docs") + made.toctrees(runbooks.read_text(), "docs/runbooks")
    pages = {f"/{page.relative_to(REPOSITORY).with_suffix('')}" for page in DOCS.rglob("*.md")} - {"/docs/README"}
    pages -= {f"/{name}" for name in made.BESIDE}
    assert set() == pages - set(re.findall(r"^(/docs/\S+)$", shown, re.MULTILINE))


@pytest.mark.long
def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    ran = subprocess.run(
        [REPOSITORY / "scripts" / "docs", "site", tmp_path], capture_output=True, text=True, check=False
    )
    assert 0 == ran.returncode, ran.stderr
    assert "Start in five minutes" in (tmp_path / "index.html").read_text()


def free_ports(count: int) -> list[int]:
    taken = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in taken]
    for one in taken:
        one.close()
    return ports


def test_every_command_of_the_start_page_does_what_the_page_says(tmp_path: Path) -> None:
    upstream, gateway, admin = free_ports(3)
    text = "".join(BLOCK.findall((DOCS / "start.md").read_text()))
    changed = {
        "scripts/bootstrap ": "true ",  # done, or this test would not run
        "$PWD/.venv/bin": str(Path(sys.executable).parent),
        ":8000/": f":{upstream}/",
        "--port 8000": f"--port {upstream}",
        ":8400/": f":{gateway}/",
        "weighbridge doctor": f"sed -i 's/8400/{gateway}/; s/8401/{admin}/' weighbridge.toml; weighbridge doctor",
    }
    typed = text
    for old, new in changed.items():
        assert old in typed
        typed = typed.replace(old, new)
    assert 10 < len(typed.splitlines())
    for name in ("examples", "tests"):
        (tmp_path / name).symlink_to(REPOSITORY / name)
    ran = subprocess.run(
        ["bash", "-c", f"set -m\n{typed}"], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300,
        env={**os.environ, "COVERAGE_PROCESS_START": ""},
    )  # fmt: skip
    shown = ran.stdout + ran.stderr
    assert 0 == ran.returncode, shown
    assert "Traceback" not in shown
    assert "command not found" not in shown
    promised = (
        "Keep hand-written: nothing may move",
        '"content":"Hello from the fake."',
        "  unknown",
        "intact\n1 exch",
    )
    for said in promised:
        assert said in shown, f"{said!r} is not in:\n{shown}"
    assert (tmp_path / "bill.html").stat().st_size > 10_000
