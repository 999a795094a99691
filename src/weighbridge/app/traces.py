"""Exports traces: `python -m weighbridge.app.traces`. A process of its own that follows the exchange log.

So no request waits for a collector, no worker loads an SDK, and a collector that is down costs nothing but spans: they
are kept up to a limit, then the oldest are dropped and counted. Begins with what ends after it started.
"""

import argparse
import logging
import os
import select
import signal
import socket
import sys
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from weighbridge import __version__
from weighbridge.app.spans import Span, spans_of
from weighbridge.config import secret
from weighbridge.config.logs import log_to_stderr
from weighbridge.errors import WeighbridgeError
from weighbridge.exchanges.reader import Corrupt, Follower
from weighbridge.records.canonical import parse
from weighbridge.records.table import Endpoint, RouteTable
from weighbridge.store.layout import Layout

log = logging.getLogger("traces")

POLL_S = 1.0
BATCH = 512
WAITING_MAX = 20_000
"""Spans kept while the collector does not take them."""
EXPORT_S_MAX = 10.0
MISSING = "[traces] needs the extra [otel]: pip install 'weighbridge[otel]'"


class Exporter:
    """Spans to a collector over OTLP (HTTP, protobuf), through the SDK's own exporter."""

    def __init__(self, url: str, headers: dict[str, str], service: str) -> None:
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import ReadableSpan
            from opentelemetry.sdk.trace.export import SpanExportResult
            from opentelemetry.sdk.util.instrumentation import InstrumentationScope
        except ImportError:
            raise WeighbridgeError(MISSING) from None
        self._made, self._success = ReadableSpan, SpanExportResult.SUCCESS
        self._resource = Resource.create({"service.name": service, "service.version": __version__})
        self._scope = InstrumentationScope("weighbridge", __version__)
        self._exporter = OTLPSpanExporter(endpoint=url, headers=headers, timeout=EXPORT_S_MAX)
        self._waiting: deque[Span] = deque()
        self.dropped = 0
        self._down = False

    def add(self, spans: Sequence[Span]) -> None:
        self._waiting.extend(spans)
        while len(self._waiting) > WAITING_MAX:
            self._waiting.popleft()
            self.dropped += 1

    def flush(self) -> bool:
        """Export what waits. False where the collector did not take it; it goes on waiting."""
        while self._waiting:
            batch = [self._waiting[at] for at in range(min(BATCH, len(self._waiting)))]
            if self._exporter.export([self._span(span) for span in batch]) is not self._success:
                if not self._down:
                    log.error("the collector does not take spans; up to %d are kept for it", WAITING_MAX)
                self._down = True
                return False
            for _ in batch:
                self._waiting.popleft()
        if self._down:
            log.info("the collector takes spans again; %d were dropped meanwhile", self.dropped)
            self._down, self.dropped = False, 0
        return True

    def _span(self, span: Span) -> Any:
        from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

        flags = TraceFlags(TraceFlags.SAMPLED)
        parent = None
        if span.parent_id is not None:
            parent = SpanContext(span.trace_id, span.parent_id, span.remote_parent, flags)
        attributes = dict(span.attributes) | ({} if span.error is None else {"error.type": span.error})
        return self._made(
            name=span.name,
            context=SpanContext(span.trace_id, span.span_id, False, flags),
            parent=parent,
            resource=self._resource,
            attributes=attributes,
            kind=SpanKind.SERVER if span.kind == "server" else SpanKind.CLIENT,
            status=Status(StatusCode.UNSET if span.error is None else StatusCode.ERROR),
            start_time=span.start_ns,
            end_time=span.end_ns,
            instrumentation_scope=self._scope,
        )

    def close(self) -> None:
        self._exporter.shutdown()  # type: ignore[no-untyped-call]


def _endpoints(layout: Layout, known: dict[str, Endpoint]) -> dict[str, Endpoint]:
    """Of the current table; those of earlier ones stay for what began under them."""
    try:
        table = parse(layout.table.read_bytes(), RouteTable)
    except (OSError, ValueError):
        return known
    return known | {row.name: row for row in table.endpoints}


def headers_of(text: str) -> dict[str, str]:
    """`name=value,name=value`, as OTEL_EXPORTER_OTLP_HEADERS. Raises `ValueError` without showing a value."""
    found: dict[str, str] = {}
    for part in text.split(","):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or not name:
            raise ValueError("traces.headers has not the form name=value,name=value")
        found[name] = value
    return found


def follow(layout: Layout, exporter: Exporter, line: socket.socket) -> None:
    """Until the other end of `line` is closed; then once more, so that nothing that ended is left out."""
    follower, over = Follower(layout), False
    known: dict[str, Endpoint] = {}
    log.info("following the log: what ends from now on is exported")
    while not over:
        readable, _, _ = select.select([line], [], [], POLL_S)
        over = bool(readable) and not line.recv(4096)
        try:
            ended = follower.poll()
        except Corrupt as error:
            log.error("a part of the log cannot be traced: %s", error)
            continue
        if ended:
            known = _endpoints(layout, known)
        for exchange in ended:
            exporter.add(spans_of(exchange, known))
        exporter.flush()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m weighbridge.app.traces", description=__doc__)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--otlp", required=True)
    parser.add_argument("--headers", help="a reference to a secret, env:NAME or file:PATH")
    parser.add_argument("--service", default="weighbridge")
    parser.add_argument("--log-format", choices=("text", "json"), default="text")
    parser.add_argument("--supervisor-fd", type=int, required=True)
    given = parser.parse_args(arguments)
    log_to_stderr(given.log_format)
    os.umask(0o077)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the end of the line ends it, when the workers have ended
    line = socket.socket(fileno=given.supervisor_fd)
    try:
        headers = {} if given.headers is None else headers_of(secret(given.headers, given.folder))
        exporter = Exporter(given.otlp, headers, given.service)
    except (WeighbridgeError, LookupError, ValueError) as error:
        log.error("no traces: %s", error.args[0])
        return 1
    # The exporter logs failures in its own words, with the URL; ours are said once.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    try:
        follow(Layout(given.store), exporter, line)
    finally:
        exporter.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
