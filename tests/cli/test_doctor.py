"""`doctor`: each thing that is wrong is found, said and followed by what to do."""

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.app.serving import serving, write_config
from tests.fakes.provider import FakeProvider
from weighbridge.app.check import Check
from weighbridge.app.doctor import examine
from weighbridge.cli.root import run
from weighbridge.store.layout import Layout


@pytest.fixture
def provider() -> Iterator[FakeProvider]:
    with FakeProvider() as running:
        yield running


@pytest.fixture
def file(tmp_path: Path, provider: FakeProvider) -> Path:
    return write_config(tmp_path, provider.url)


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def found(file: Path, name: str) -> Check:
    checks = [check for check in examine(file).checks if check.name == name]
    assert len(checks) == 1, [check.name for check in examine(file).checks]
    return checks[0]


def test_when_all_is_well_the_exit_code_is_0(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor", "--config", str(file)]) == 0
    shown = capsys.readouterr().out
    assert "ok    endpoint provider" in shown
    assert "warn" not in shown


def test_json_is_one_document_with_the_worst_status(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit(file, "bodies = true", "bodies = false")
    assert run(["doctor", "--config", str(file), "--json"]) == 2
    told = json.loads(capsys.readouterr().out)
    assert told["status"] == "warn"
    assert {"name", "status", "says", "next_step"} == set(told["checks"][0])


def _bad_config(file: Path) -> None:
    edit(file, 'incumbent = "incumbent"', 'incumbent = "nobody"')


def _no_client_key(file: Path) -> None:
    (file.parent / "app.key").unlink()


def _no_upstream_key(file: Path) -> None:
    edit(file, 'name = "provider"\n', 'name = "provider"\napi_key = "env:WB_TEST_NOT_SET"\n')


def _no_server(file: Path) -> None:
    edit(file, 'base_url = "http://127.0.0.1:', 'base_url = "http://127.0.0.2:')


def _no_price(file: Path) -> None:
    edit(file, 'price = { input = "0.1", output = "0.2" }', "")


def _gate(file: Path) -> None:
    file.write_text(
        file.read_text().replace('name = "candidate"\nendpoint = "provider"', 'name = "candidate"\nendpoint = "far"')
        + '[[endpoint]]\nname = "far"\nbase_url = "https://far.invalid/v1"\n'
    )


def _no_encryption_key(file: Path) -> None:
    edit(file, "[capture]", '[capture]\nencrypt_key = "env:WB_TEST_NOT_SET"')


@contextmanager
def refusing_server() -> Iterator[str]:
    """Answers 401 to everything."""

    class Refuse(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(401)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Refuse) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/v1"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("harm", "name", "status", "words"),
    [
        (_bad_config, "configuration", "fail", "route[assistant].incumbent"),
        (_no_client_key, "route table", "fail", "key[app].secret"),
        (_no_upstream_key, "endpoint provider", "fail", "WB_TEST_NOT_SET is not set"),
        (_no_server, "endpoint provider", "fail", "127.0.0.2"),
        (_no_price, "price candidate", "warn", "states no price"),
        (_gate, "send gate assistant/candidate", "warn", "`region` is not stated"),
        (_no_encryption_key, "capture", "fail", "WB_TEST_NOT_SET is not set"),
    ],
)
def test_what_is_wrong_is_named_with_the_next_step(
    harm: Callable[[Path], None], name: str, status: str, words: str, file: Path
) -> None:
    harm(file)
    check = found(file, name)
    assert check.status == status
    assert words in check.says
    assert check.next_step


def test_an_endpoint_that_refuses_the_key_is_said(file: Path, provider: FakeProvider) -> None:
    with refusing_server() as url:
        edit(file, provider.url, url)
        check = found(file, "endpoint provider")
    assert check.status == "fail"
    assert "401" in check.says


@pytest.mark.parametrize("dialect", ["anthropic", "openai-responses", "azure"])
def test_a_refused_key_is_said_whatever_the_endpoints_dialect(
    dialect: str, file: Path, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WB_TEST_KEY", "canary-key")
    edit(file, 'name = "provider"\n', f'name = "provider"\ndialect = "{dialect}"\napi_key = "env:WB_TEST_KEY"\n')
    with refusing_server() as url:
        edit(file, provider.url, url)
        check = found(file, "endpoint provider")
    assert ("fail", "check env:WB_TEST_KEY") == (check.status, check.next_step)
    assert "the key is not accepted" in check.says


def test_the_call_that_a_request_becomes_is_said_without_its_secret(
    file: Path, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WB_TEST_KEY", "canary-key")
    edit(file, 'name = "provider"\n', 'name = "provider"\ndialect = "anthropic"\napi_key = "env:WB_TEST_KEY"\n')
    says = f"messages: POST {provider.url}/messages; x-api-key from env:WB_TEST_KEY"
    assert ("ok", says) == (found(file, "call provider").status, found(file, "call provider").says)
    assert "ok" == found(file, "endpoint provider").status
    assert ("canary-key", "2023-06-01") == (
        provider.seen[-1].header("x-api-key"), provider.seen[-1].header("anthropic-version"),
    )  # fmt: skip


def test_credentials_that_cannot_be_had_are_said(file: Path, tmp_path: Path) -> None:
    (tmp_path / "robot.json").write_text("{}")
    edit(file, 'name = "provider"\n', 'name = "provider"\ndialect = "vertex"\ncredentials = "robot.json"\n')
    check = found(file, "endpoint provider")
    assert "fail" == check.status
    assert "no access token could be had" in check.says


def test_a_key_that_others_can_read_is_said(file: Path) -> None:
    layout = Layout(file.parent / "weighbridge-data")
    layout.create()
    layout.signing_key.write_text("x")
    layout.signing_key.chmod(0o644)
    check = found(file, "privacy")
    assert check.status == "fail"
    assert check.next_step == f"chmod go= {layout.signing_key}"


@pytest.mark.parametrize(("free", "status"), [(100 << 20, "fail"), (1 << 30, "warn"), (100 << 30, "ok")])
def test_a_disk_that_runs_out_is_said_in_time(
    free: int, status: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Layout(file.parent / "weighbridge-data").create()

    class Usage:
        def __init__(self, _: object) -> None:
            self.free = free

    monkeypatch.setattr(shutil, "disk_usage", Usage)
    assert found(file, "space").status == status


def test_a_damaged_database_is_said(file: Path) -> None:
    layout = Layout(file.parent / "weighbridge-data")
    layout.create()
    layout.database.write_bytes(b"no database at all" * 1000)
    assert found(file, "keeper").status == "fail"


def test_a_running_gateway_is_seen(file: Path) -> None:
    with serving(file) as served:
        check = found(file, "keeper")
    assert check.status == "ok"
    assert f"1 worker(s) on {served.listen}" in check.says


def test_offline_asks_nobody(file: Path, provider: FakeProvider) -> None:
    assert run(["doctor", "--config", str(file), "--offline"]) == 0
    assert provider.seen == []


def test_a_key_that_was_made_by_command_counts_where_the_configuration_has_none(file: Path) -> None:
    text = file.read_text()
    file.write_text(text[: text.index("[[key]]")])
    assert "there is none, so no client could be let in" in found(file, "route table").says
    assert 0 == run(["key", "create", "app", "--config", str(file)])
    assert ("ok", "1 route(s) and 1 client key(s)") == (
        found(file, "route table").status, found(file, "route table").says
    )  # fmt: skip


@pytest.mark.parametrize("breaks", [_bad_config, Path.unlink])
def test_a_configuration_that_cannot_be_used_exits_as_in_every_other_command(
    file: Path, breaks: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    breaks(file)
    assert (64, 64) == (run(["doctor", "--config", str(file)]), run(["alerts", "--config", str(file)]))
    assert "or name another one by --config" in capsys.readouterr().out
