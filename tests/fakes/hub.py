"""A small model hub on loopback: model info, files at a commit, and the ways in which a hub fails."""

import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Repo:
    card: dict[str, object]
    files: dict[str, bytes] = field(default_factory=dict)
    commit: str = COMMIT
    gated: bool = False
    """Its card is public, its files are not."""


class FakeHub:
    """`repos` by OWNER/NAME. With `silent`, it takes connections and never answers. `asked`: paths, in order."""

    def __init__(self, repos: dict[str, Repo], *, silent: bool = False, status: int | None = None) -> None:
        self.repos, self.asked = repos, list[str]()
        self._released = threading.Event()
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = unquote(urlsplit(self.path).path)
                if path != "/api/agent-harnesses":  # the library asks that now and then, about itself
                    hub.asked.append(path)
                if silent:
                    hub._released.wait()
                    return
                code, body = (status, b"broken") if status is not None else hub.answer(path)
                self.send_response(code)
                if code == 404:
                    self.send_header("x-error-code", "RepoNotFound")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class's word)
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def answer(self, path: str) -> tuple[int, bytes]:
        for name, repo in self.repos.items():
            if path in (f"/api/models/{name}", f"/api/models/{name}/revision/{repo.commit}"):
                info = {
                    "id": name, "modelId": name, "sha": repo.commit, "tags": [], "cardData": repo.card,
                    "siblings": [{"rfilename": file} for file in ("README.md", "model.safetensors", *repo.files)],
                }  # fmt: skip
                return 200, json.dumps(info).encode()
            prefix = f"/{name}/resolve/{repo.commit}/"
            if path.startswith(prefix) and path.removeprefix(prefix) in repo.files:
                return (403, b"gated") if repo.gated else (200, repo.files[path.removeprefix(prefix)])
        return 404, b"not found"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True, kwargs={"poll_interval": 0.01}).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._released.set()
        self._server.shutdown()
        self._server.server_close()
