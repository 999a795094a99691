"""Other gateways: how each is installed, started and asked, at a pinned version.

Each lies in `.cache/peers`, in an environment of its own, never in this project's. They run with one worker and as
their documentation advises for production, without what would refuse the load (rate limits) or send data out
(telemetry). A peer that cannot be had or started here is named with the reason.
"""

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.harness.load import Front, Target, request_body
from bench.harness.processes import NotMeasuredError, end, environment_with_bytecode, free_port, listens

CACHE = Path(".cache/peers")
START_S_MAX = 120.0
PEER_KEY = "sk-a-key-that-is-long-enough-for-everybody"


@dataclass(frozen=True)
class Place:
    """Where a peer runs, and before what."""

    installed: Path
    folder: Path
    port: int
    upstream: str
    """The provider without a path, e.g. `http://127.0.0.1:9100`."""
    trusted: Path | None = None
    """A file of authorities to trust, where the provider speaks TLS."""

    def program(self, *parts: str) -> str:
        return str(self.installed.joinpath(*parts).absolute())


@dataclass(frozen=True)
class Peer:
    name: str
    version: str
    language: str
    install: Callable[[Path, str], None]
    """(folder, version)"""
    command: Callable[[Place], list[str]]
    """Writes what configuration it wants to `Place.folder`."""
    environment: Callable[[Place], Mapping[str, str]]
    front: Callable[[str], Front]
    """How it wants to be asked for a chat completion; from the provider's address."""

    @property
    def title(self) -> str:
        return f"{self.name} {self.version} ({self.language})"


# --- installing -------------------------------------------------------------------------------------------------------


def _step(command: Sequence[str], what: str, folder: Path | None = None) -> None:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=900)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotMeasuredError(f"{what}: {error}") from None
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines() or ["it said nothing"]
        raise NotMeasuredError(f"{what}: {said[-1][:200]}")


def _from_python(package: str) -> Callable[[Path, str], None]:
    def install(folder: Path, version: str) -> None:
        uv = os.environ.get("UV", "uv")
        _step([uv, "venv", "-q", "--python", sys.executable, str(folder)], "no environment could be made")
        wanted = f"{package}=={version}"
        python = str(folder / "bin" / "python")
        _step(
            [uv, "pip", "install", "-q", "--compile-bytecode", "--python", python, wanted],
            f"{wanted} could not be installed",
        )

    return install


def _from_node(package: str, overrides: Mapping[str, str]) -> Callable[[Path, str], None]:
    def install(folder: Path, version: str) -> None:
        if shutil.which("npm") is None:
            raise NotMeasuredError("npm is not installed")
        folder.mkdir(parents=True)
        (folder / "package.json").write_text(json.dumps({"private": True, "overrides": overrides}))
        wanted = f"{package}@{version}"
        _step(["npm", "install", "--silent", "--ignore-scripts", wanted], f"{wanted} could not be installed", folder)

    return install


def installed(peer: Peer) -> Path:
    """Where it lies, installed now if it was not. Raises `NotMeasuredError`."""
    folder = CACHE / f"{peer.name}-{peer.version}"
    if not (folder / ".complete").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        print(f"installing {peer.name} {peer.version} into {folder}", file=sys.stderr)
        peer.install(folder, peer.version)
        (folder / ".complete").touch()
    return folder


# --- each of them -----------------------------------------------------------------------------------------------------


def _vllm_router(place: Place) -> list[str]:
    return [
        place.program("bin", "vllm-router"), "--host", "127.0.0.1", "--port", str(place.port),
        "--worker-urls", place.upstream, "--policy", "round_robin", "--log-level", "error",
        "--prometheus-port", str(free_port()), "--max-concurrent-requests", "20000", "--disable-retries",
        "--disable-circuit-breaker",
    ]  # fmt: skip


def _ferrogw(place: Place) -> list[str]:
    (place.folder / "ferrogw.yaml").write_text(
        "strategy:\n  mode: conditional\n  conditions:\n"
        "    - {key: model_prefix, value: claude, target_key: anthropic}\n"
        "    - {key: model_prefix, value: gpt, target_key: openai}\n"
        "targets:\n  - virtual_key: openai\n  - virtual_key: anthropic\n"
    )
    return [place.program("bin", "ferrogw"), "serve"]


def _ferrogw_environment(place: Place) -> Mapping[str, str]:
    return {
        "OPENAI_API_KEY": PEER_KEY, "OPENAI_BASE_URL": place.upstream, "PORT": str(place.port),
        "ANTHROPIC_API_KEY": PEER_KEY, "ANTHROPIC_BASE_URL": place.upstream,
        "GATEWAY_CONFIG": str(place.folder / "ferrogw.yaml"), "MASTER_KEY": PEER_KEY, "LOG_LEVEL": "error",
        "RATE_LIMIT_RPS": "1000000", "RATE_LIMIT_BURST": "1000000",
    }  # fmt: skip


_PORTKEY_PINS = {"@hono/node-server": "1.14.1"}
"""With what its own range installs today every stream ends in a 500 (Portkey-AI/gateway, issue 1389)."""


def _portkey(place: Place) -> list[str]:
    script = place.program("node_modules", "@portkey-ai", "gateway", "build", "start-server.js")
    return ["node", script, f"--port={place.port}", "--headless"]


def portkey_headers(upstream: str, provider: str) -> dict[str, str]:
    return {
        "Authorization": f"Bearer {PEER_KEY}", "x-portkey-provider": provider,
        "x-portkey-custom-host": f"{upstream}/v1",
    }  # fmt: skip


_BY_CHAT = "      use_chat_completions_api: true\n"
"""Clients of the responses API reach this model by chat completions."""


def _litellm(place: Place) -> list[str]:
    models = (
        ("assistant", "openai/mock"), ("m-openai", "openai/m-openai"), ("m-anthropic", "anthropic/m-anthropic"),
        ("m-openai-responses", "openai/responses/m-openai-responses"),
    )  # fmt: skip
    rows = "".join(
        f"  - model_name: {name}\n    litellm_params:\n      model: {model}\n      api_key: {PEER_KEY}\n"
        f"      api_base: {place.upstream}{'' if model.startswith('anthropic') else '/v1'}\n"
        f"{'' if name != 'm-openai' else _BY_CHAT}"
        for name, model in models
    )
    config = place.folder / "litellm.yaml"
    config.write_text(
        f"model_list:\n{rows}general_settings:\n  master_key: {PEER_KEY}\n"
        "litellm_settings:\n  set_verbose: false\n  json_logs: true\n  num_retries: 0\n"
        "router_settings:\n  disable_cooldowns: true\n  num_retries: 0\n"
    )
    program = place.program("bin", "litellm")
    return [program, "--config", str(config), "--host", "127.0.0.1", "--port", str(place.port), "--num_workers", "1"]


_LITELLM = {
    "LITELLM_MODE": "PRODUCTION", "LITELLM_LOG": "ERROR", "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_TELEMETRY": "False", "NO_DOCS": "True", "LITELLM_USE_CHAT_COMPLETIONS_URL_FOR_ANTHROPIC_MESSAGES": "True",
}  # fmt: skip

PEERS = (
    Peer(
        "vllm-router", "0.1.17", "Rust", _from_python("vllm-router"), _vllm_router, lambda place: {},
        lambda upstream: Front({}),
    ),
    Peer(
        "ferrogw", "1.5.10", "Go", _from_python("ferrogw"), _ferrogw, _ferrogw_environment,
        lambda upstream: Front({"Authorization": f"Bearer {PEER_KEY}"}, "gpt-4o"),
    ),
    Peer(
        "Portkey", "1.15.2", "Node", _from_node("@portkey-ai/gateway", _PORTKEY_PINS), _portkey,
        lambda place: {"NODE_ENV": "production"}, lambda upstream: Front(portkey_headers(upstream, "openai"), "gpt-4o"),
    ),
    Peer(
        "LiteLLM", "1.108.7", "Python", _from_python("litellm[proxy]"), _litellm, lambda place: _LITELLM,
        lambda upstream: Front({"Authorization": f"Bearer {PEER_KEY}"}),
    ),
)  # fmt: skip


# --- running ----------------------------------------------------------------------------------------------------------


def _trust(file: Path | None) -> dict[str, str]:
    """What Go, OpenSSL, Python clients and Node each read."""
    if file is None:
        return {}
    names = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")
    return {name: str(file) for name in names}


def answers(target: Target, *, stream: bool) -> bool:
    """Whether it answers one small chat completion with 200."""
    body = request_body(400, stream=stream, model=target.front.model)
    headers = {"content-type": "application/json", **target.front.headers}
    request = urllib.request.Request(f"http://127.0.0.1:{target.port}/v1/chat/completions", body, headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310 (loopback)
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


@contextmanager
def peer_running(
    peer: Peer, folder: Path, upstream: int, *, trusted: Path | None = None, ready: Callable[[Target], bool]
) -> Iterator[Target]:
    """A peer before the provider at a port, once `ready` says so. Raises `NotMeasuredError`."""
    folder.mkdir(parents=True, exist_ok=True)
    address = f"{'http' if trusted is None else 'https'}://127.0.0.1:{upstream}"
    place = Place(installed(peer), folder, free_port(), address, trusted)
    environment = {**environment_with_bytecode(), **_trust(trusted), **peer.environment(place)}
    log = folder / f"{peer.name}.log"
    with log.open("w") as out:
        process = subprocess.Popen(
            peer.command(place), cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out
        )
        target = Target(process.pid, place.port, peer.front(address))
        until = time.monotonic() + START_S_MAX
        try:
            while not listens(place.port) or not ready(target):
                if process.poll() is not None or time.monotonic() > until:
                    said = log.read_text(errors="replace").strip().splitlines()
                    raise NotMeasuredError(f"it did not start: {said[-1][:200] if said else 'it said nothing'}")
                time.sleep(0.02)
            yield target
        finally:
            end(process)
