"""Traces: an exchange as spans, exported beside the gateway to a collector that checks nothing and remembers all."""

import http.client
import json
import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.app.serving import CLIENT_KEY, serving, write_config
from tests.fakes.provider import FakeProvider, Script
from weighbridge.app.spans import OPERATIONS, spans_of
from weighbridge.app.traces import WAITING_MAX, Exporter, headers_of
from weighbridge.config.logs import JsonLines
from weighbridge.records.exchange import Attempt, Exchange
from weighbridge.records.frames import Asked
from weighbridge.records.table import Endpoint
from weighbridge.records.traces import kept, parsed
from weighbridge.records.usage import Usage

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


class Collector:
    """An OTLP receiver: `spans` by name of the attribute `weighbridge.exchange.id` or endpoint; `status` to refuse."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.headers: list[dict[str, str]] = []
        self.raw = b""
        self.status = 200

    def attributes(self, span: Any) -> dict[str, Any]:
        return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in span.attributes}


@contextmanager
def collector() -> Iterator[tuple[Collector, str]]:
    it = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if it.status == 200:
                it.raw += body
                it.headers.append(dict(self.headers))
                for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                    for scope in resource.scope_spans:
                        it.spans += scope.spans
            self.send_response(it.status)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class names it so)
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield it, f"http://127.0.0.1:{server.server_port}/v1/traces"
    finally:
        server.shutdown()
        thread.join()


def asked(listen: str, **headers: str) -> str:
    connection = http.client.HTTPConnection(listen, timeout=30)
    try:
        body = {"model": "assistant", "messages": [{"role": "user", "content": "canary-prompt"}], "user": "canary-user"}
        connection.request(
            "POST", "/v1/chat/completions", json.dumps(body), {"authorization": f"Bearer {CLIENT_KEY}", **headers}
        )
        reply = connection.getresponse()
        reply.read()
        return reply.getheader("x-weighbridge-id") or ""
    finally:
        connection.close()


def test_requests_become_spans_in_the_clients_trace_and_hold_no_prompt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTLP_HEADERS", "x-token=canary-token")
    with FakeProvider(answers={"model-a": Script(text="canary-answer")}) as provider, collector() as (it, url):
        file = write_config(tmp_path, provider.url)
        file.write_text(f'{file.read_text()}\n[traces]\notlp = "{url}"\nheaders = "env:OTLP_HEADERS"\n')
        with serving(file) as served:
            served.until("traces: following the log")
            joined = asked(served.listen, traceparent=f"00-{TRACE}-{PARENT}-01")
            unsampled = asked(served.listen, traceparent=f"00-{TRACE}-{PARENT}-00")
            alone = asked(served.listen, traceparent="not one")
            provider.answers["model-a"] = Script(status=500)
            failed = asked(served.listen)
            assert 0 == served.end(signal.SIGTERM)
            log = "\n".join(served.log)
        by_id: dict[str, Any] = {}
        for span in it.spans:
            identity = it.attributes(span).get("weighbridge.exchange.id")
            if identity is not None:
                by_id[identity] = span
        assert {joined, alone, failed} == set(by_id)
        assert unsampled not in by_id

        request = by_id[joined]
        assert (TRACE, PARENT) == (request.trace_id.hex(), request.parent_span_id.hex())
        (attempt,) = [span for span in it.spans if span.parent_span_id == request.span_id]
        said = it.attributes(attempt)
        assert attempt.trace_id == request.trace_id
        assert ("chat model-a", 3) == (attempt.name, attempt.kind)  # CLIENT
        assert ("chat", "model-a") == (said["gen_ai.operation.name"], said["gen_ai.request.model"])
        assert (provider.bill[0].prompt_tokens, provider.bill[0].completion_tokens) == (
            said["gen_ai.usage.input_tokens"],
            said["gen_ai.usage.output_tokens"],
        )
        assert ("127.0.0.1", provider.port) == (said["server.address"], said["server.port"])
        start, end = request.start_time_unix_nano, request.end_time_unix_nano
        assert start <= attempt.start_time_unix_nano < attempt.end_time_unix_nano <= end

        assert by_id[alone].trace_id.hex() != TRACE
        assert b"" == by_id[alone].parent_span_id
        assert (2, "upstream_error") == (by_id[failed].status.code, it.attributes(by_id[failed])["error.type"])
        assert {"canary-token"} == {headers.get("x-token") for headers in it.headers}
        assert not [word for word in (b"canary", CLIENT_KEY.encode()) if word in it.raw]
        assert "canary" not in log


def test_a_collector_that_is_down_costs_no_request_and_gets_the_spans_later(
    tmp_path: Path,
) -> None:
    with FakeProvider() as provider, collector() as (it, url):
        it.status = 400
        file = write_config(tmp_path, provider.url)
        file.write_text(f'{file.read_text()}\n[traces]\notlp = "{url}"\n')
        with serving(file) as served:
            served.until("traces: following the log")
            ids = {asked(served.listen) for _ in range(5)}
            served.until("traces: the collector does not take spans")
            it.status = 200
            served.until("traces: the collector takes spans again; 0 were dropped")
        assert ids == {it.attributes(span).get("weighbridge.exchange.id") for span in it.spans} - {None}


def test_what_a_collector_never_takes_is_dropped_oldest_first_and_counted() -> None:
    exporter = Exporter("http://127.0.0.1:9/v1/traces", {}, "test")
    spans = spans_of(exchange(), {})
    rounds = WAITING_MAX // len(spans) + 3
    for _ in range(rounds):
        exporter.add(spans)
    assert rounds * len(spans) - WAITING_MAX == exporter.dropped
    exporter.close()


def exchange(**more: Any) -> Exchange:
    first = Attempt(
        attempt=1, arm="a", endpoint="bedrock", model="m", status=429, error="upstream answered 429", time_ns=1_000
    )
    second = Attempt(
        attempt=2, arm="b", endpoint="own", model="n", status=200, time_ns=2_000, duration_ns=500, fallback=True,
        usage=Usage(10, 20, 3, 4, 5, 6), finish_reason="stop",
    )  # fmt: skip
    fields: dict[str, Any] = {
        "id": "0194f0c1a2b3abcd-1f", "time_ns": 900, "purpose": "user", "route": "assistant", "arm": "b", "key": "bot",
        "team": None, "user": "somebody", "tags": (), "slice": "all", "conversation": "c", "table": 3, "stream": False,
        "outcome": "ok", "status": 200, "attempts": (first, second), "usage": Usage(10, 20, 3, 4, 5, 6),
        "cost_nanousd": None, "price_version": None, "duration_ns": 1_700, "first_byte_ns": 1_600, "request_bytes": 1,
        "response_bytes": 1, "max_tokens": None, "held_nanousd": None, "request": None, "response": None, "trial": None,
        "item": None, "error": None, "digest": "",
    }  # fmt: skip
    return Exchange(**fields | more)


def test_each_attempt_is_a_child_and_what_is_unknown_is_left_out() -> None:
    bedrock = Endpoint(name="bedrock", dialect="bedrock", base_url="https://bedrock-runtime.us-east-1.amazonaws.com")
    request, first, second = spans_of(exchange(), {"bedrock": bedrock})
    assert [request.span_id] * 2 == [first.parent_id, second.parent_id]
    assert 3 == len({request.span_id, first.span_id, second.span_id})
    assert ("429", None, None) == (first.error, second.error, request.error)
    assert "aws.bedrock" == first.attributes["gen_ai.provider.name"]
    assert "gen_ai.provider.name" not in second.attributes  # nobody said which
    assert "gen_ai.usage.input_tokens" not in first.attributes
    assert (22, 26, 3, 6) == tuple(
        second.attributes[f"gen_ai.usage.{name}"]
        for name in ("input_tokens", "output_tokens", "cache_read.input_tokens", "reasoning.output_tokens")
    )
    assert (2_000, 2_500) == (second.start_ns, second.end_ns)
    assert "weighbridge.cost_nanousd" not in request.attributes
    assert "somebody" not in str((request, first, second))


@pytest.mark.parametrize(
    ("asked", "operation"),
    [
        ("openai", "chat"),
        ("anthropic", "chat"),
        ("openai-embeddings", "embeddings"),
        ("openai-completions", "text_completion"),
    ],
)
def test_a_span_is_named_for_what_was_asked(asked: str, operation: str) -> None:
    for span in spans_of(exchange(asked=asked), {}):
        assert operation == span.attributes["gen_ai.operation.name"] == span.name.split()[0]


def test_every_kind_of_request_has_an_operation() -> None:
    assert set(get_args(Asked)) == set(OPERATIONS)


def test_an_answer_that_was_replayed_is_no_error() -> None:
    assert spans_of(exchange(outcome="replayed"), {})[0].error is None


def test_the_same_exchange_has_the_same_spans_whenever_it_is_exported() -> None:
    assert spans_of(exchange(), {}) == spans_of(exchange(), {})
    assert spans_of(exchange(), {})[0].trace_id != spans_of(exchange(id="0194f0c1a2b3abcd-20"), {})[0].trace_id


@pytest.mark.parametrize(
    "text",
    [
        "", f"00-{TRACE}-{PARENT}", f"00-{TRACE}-{PARENT}-01-more", f"ff-{TRACE}-{PARENT}-01",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01", f"00-{TRACE.upper()}-{PARENT}-01", f"00-{TRACE}-{PARENT}-0g",
    ],
)  # fmt: skip
def test_what_is_no_trace_context_is_not_kept(text: str) -> None:
    assert parsed(text) is None
    assert kept(text.encode()) is None


def test_a_later_version_of_the_header_is_read_as_far_as_it_is_known() -> None:
    found = parsed(f"01-{TRACE}-{PARENT}-01-what-comes")
    assert found is not None
    assert (int(TRACE, 16), True) == (found.trace_id, found.sampled)


@given(st.binary(max_size=200))
def test_no_bytes_of_a_client_are_kept_but_a_valid_context(header: bytes) -> None:
    text = kept(header)
    assert text is None or parsed(text) is not None


def test_headers_of_the_collector_are_named_and_never_shown() -> None:
    assert {"a": "1", "b": "x=y"} == headers_of("a=1, b=x=y")
    with pytest.raises(ValueError, match="has not the form") as refused:
        headers_of("canary")
    assert "canary" not in str(refused.value)


def test_a_log_line_as_json_has_level_time_and_the_request_that_it_is_about() -> None:
    record = logging.LogRecord(
        "worker", logging.ERROR, "x.py", 1, "request %s failed\nwith a line", ("0194f0c1a2b3abcd-1f",), None
    )
    line = JsonLines().format(record)
    assert "\n" not in line
    found = json.loads(line)
    assert ("error", "worker", "0194f0c1a2b3abcd-1f") == (found["level"], found["logger"], found["request_id"])
    assert found["time"].endswith("+00:00")


def test_every_process_logs_json_where_that_is_asked_for(tmp_path: Path) -> None:
    file = write_config(tmp_path)
    file.write_text(file.read_text().replace("[server]", '[server]\nlog_format = "json"'))
    import subprocess
    import sys

    process = subprocess.Popen(
        [sys.executable, "-m", "weighbridge", "serve", "--config", str(file)], stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    lines: list[str] = []
    for line in process.stderr:
        lines.append(line)
        if "ready on" in line:
            process.terminate()
    assert 0 == process.wait(60)
    found = [json.loads(line) for line in lines]
    assert {"serve", "keeper"} <= {each["logger"] for each in found}
    assert {"time", "level", "logger", "pid", "message"} <= set(found[0])
