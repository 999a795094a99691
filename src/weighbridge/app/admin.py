"""/metrics and /healthz on the admin address, where the [admin] extra is not installed."""

import json
import logging
import threading
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import make_wsgi_app
from prometheus_client.registry import Collector, CollectorRegistry

from weighbridge.app.metrics import Series, families

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment
    from prometheus_client.core import Metric

log = logging.getLogger("serve")

SLOW_CLIENT_S_MAX = 10


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _SixServer(_Server):
    import socket

    address_family = socket.AF_INET6


class _Handler(WSGIRequestHandler):
    timeout = SLOW_CLIENT_S_MAX

    def log_message(self, *_: object) -> None:
        """No line for each scrape."""

    def address_string(self) -> str:
        return str(self.client_address[0])  # the base class would look the name up


class Collected(Collector):
    def __init__(self, series: Callable[[], dict[Series, float]]) -> None:
        self._series = series

    def collect(self) -> "Iterable[Metric]":
        return families(self._series())


class AdminPages:
    """Serves in a thread of its own until `close()`. `series` and `healthy` are called from that thread's children."""

    def __init__(
        self,
        host: str,
        port: int,
        series: Callable[[], dict[Series, float]],
        health: Callable[[], tuple[bool, dict[str, object]]],
    ) -> None:
        registry = CollectorRegistry(auto_describe=False)
        registry.register(Collected(series))
        kind = _SixServer if ":" in host else _Server
        self._server = make_server(host, port, _pages(make_wsgi_app(registry), health), kind, _Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, name="admin", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return self._server.server_port

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def _pages(metrics: "WSGIApplication", health: Callable[[], tuple[bool, dict[str, object]]]) -> "WSGIApplication":
    def page(environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path == "/metrics":
            return metrics(environ, start)
        if path == "/healthz":
            well, told = health()
            start("200 OK" if well else "503 Service Unavailable", [("Content-Type", "application/json")])
            return [json.dumps(told).encode() + b"\n"]
        start("404 Not Found", [("Content-Type", "text/plain; charset=utf-8")])
        return [b"Here are /metrics and /healthz. The gateway listens on another address.\n"]

    return page
