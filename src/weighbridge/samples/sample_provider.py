"""A tiny OpenAI-compatible provider for the sample: it answers with the hand-written incumbent answers.

    python -m weighbridge.samples.sample_provider [--port 0] [--say incumbent | --say gold | --answer TEXT]

It is **not a model**: a request is looked up by its last user text, and what a person wrote beforehand is sent
back: the incumbent's answer, or with `--say gold` the right one. With `--answer` it says the same to everything. Token
counts are estimated at four characters each, its speed says nothing, and it has no price. `GET /_bill` tells what it
answered and counted, so that a gateway in front of it can be checked.

The first line on standard output is its port. It ends on SIGTERM and when its standard input ends.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Literal, Self

from weighbridge.errors import WeighbridgeError
from weighbridge.samples.items import prompt_sha256, support_items

MODEL = "hand-written"
Say = Literal["incumbent", "gold"]
CHARACTERS_PER_TOKEN = 4
BODY_BYTES_MAX = 1 << 20
_START_S_MAX = 30.0


def tokens(text: str) -> int:
    """An estimate: one token for four characters begun. Real providers count with their own tokenizer."""
    return -(-len(text) // CHARACTERS_PER_TOKEN)


class Answers:
    """What to say to which prompt, and the bill of what was said."""

    def __init__(self, by_prompt: Mapping[str, str], always: str | None = None) -> None:
        self._by_prompt, self._always = by_prompt, always
        self._lock = threading.Lock()
        self._bill = {"requests": 0, "prompt_tokens": 0, "completion_tokens": 0}

    def answer(self, prompt: str) -> str | None:
        return self._always if self._always is not None else self._by_prompt.get(prompt_sha256(prompt))

    def charge(self, prompt_tokens: int, completion_tokens: int) -> None:
        with self._lock:
            self._bill["requests"] += 1
            self._bill["prompt_tokens"] += prompt_tokens
            self._bill["completion_tokens"] += completion_tokens

    def bill(self) -> dict[str, int]:
        with self._lock:
            return dict(self._bill)


def sample_answers(always: str | None = None, say: Say = "incumbent") -> Answers:
    items = support_items()
    texts = [item.gold if say == "gold" else item.incumbent_answer for item in items]
    return Answers({prompt_sha256(item.text): text for item, text in zip(items, texts, strict=True)}, always)


def _content(message: Any) -> str:
    content = message.get("content") if isinstance(message, dict) else None
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    answers: Answers

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the name is the base class's)
        """Silent: what happened is in the bill."""

    def do_GET(self) -> None:
        if self.path == "/v1/models":
            self._json(
                200, {"object": "list", "data": [{"id": MODEL, "object": "model", "owned_by": "weighbridge-sample"}]}
            )
        elif self.path == "/_bill":
            self._json(200, self.answers.bill())
        else:
            self._refuse(404, f"no such path: {self.path}; there is /v1/chat/completions and /v1/models")

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > BODY_BYTES_MAX:
            self.close_connection = True
            return self._refuse(413, f"a body of {length or 'unknown'} bytes; at most {BODY_BYTES_MAX} are taken")
        raw = self.rfile.read(int(length))
        if self.path != "/v1/chat/completions":
            return self._refuse(404, f"no such path: {self.path}; there is /v1/chat/completions")
        try:
            request = json.loads(raw)
        except ValueError as error:
            return self._refuse(400, f"the body is not JSON: {error}")
        messages = request.get("messages") if isinstance(request, dict) else None
        if not isinstance(messages, list):
            return self._refuse(400, "messages must be a list")
        users = [one for one in messages if isinstance(one, dict) and one.get("role") == "user"]
        answer = self.answers.answer(_content(users[-1])) if users else None
        if answer is None:
            return self._refuse(
                404, "nobody wrote an answer to this prompt: this provider knows only the shipped sample"
            )
        usage = {"prompt_tokens": sum(tokens(_content(one)) for one in messages), "completion_tokens": tokens(answer)}
        usage["total_tokens"] = sum(usage.values())
        self.answers.charge(usage["prompt_tokens"], usage["completion_tokens"])
        head = {"id": f"sample-{time.time_ns():x}", "created": int(time.time()), "model": MODEL}
        if request.get("stream"):
            options = request.get("stream_options") or {}
            return self._stream(head, answer, usage if options.get("include_usage") else None)
        message = {"role": "assistant", "content": answer}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return self._json(200, {**head, "object": "chat.completion", "choices": [choice], "usage": usage})

    def _stream(self, head: dict[str, Any], answer: str, usage: dict[str, int] | None) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
        deltas += [{"content": answer[at : at + 12]} for at in range(0, len(answer), 12)]
        events: list[dict[str, Any]] = [{"choices": [{"index": 0, "delta": d, "finish_reason": None}]} for d in deltas]
        events.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        if usage is not None:
            events.append({"choices": [], "usage": usage})
        lines = [json.dumps({**head, "object": "chat.completion.chunk", **event}) for event in events]
        for line in (*lines, "[DONE]"):
            chunk = f"data: {line}\n\n".encode()
            self.wfile.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
        self.wfile.write(b"0\r\n\r\n")

    def _json(self, status: int, body: dict[str, Any]) -> None:
        raw = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def _refuse(self, status: int, message: str) -> None:
        self._json(
            status, {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}}
        )


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def server(answers: Answers, port: int = 0) -> Server:
    """A server on loopback that has not started to serve yet."""
    return Server(("127.0.0.1", port), type("BoundHandler", (Handler,), {"answers": answers}))


class SampleProvider:
    """The provider in a process of its own: `with SampleProvider() as provider: ... provider.base_url`.

    answer: say this to everything. say: the incumbent's answers, or the right ones. Raises `WeighbridgeError` where
    the process does not start.
    """

    def __init__(self, answer: str | None = None, say: Say = "incumbent") -> None:
        self._command = [sys.executable, "-m", "weighbridge.samples.sample_provider", "--port", "0", "--say", say]
        if answer is not None:
            self._command += ["--answer", answer]
        self._process: subprocess.Popen[bytes] | None = None
        self._port = 0

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._port}/v1"

    @property
    def bill_url(self) -> str:
        return f"http://127.0.0.1:{self._port}/_bill"

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
        line = b"" if self._process.stdout is None else self._process.stdout.readline()
        if not line.strip().isdigit():
            self.__exit__(None, None, None)
            raise WeighbridgeError(f"the sample provider did not start ({' '.join(self._command)})")
        self._port = int(line)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m weighbridge.samples.sample_provider", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--port", type=int, default=0, help="0 takes a free port")
    parser.add_argument("--answer", default=None, help="say this to everything")
    parser.add_argument(
        "--say", choices=("incumbent", "gold"), default="incumbent", help="which of the shipped answers"
    )
    options = parser.parse_args(arguments)
    serving = server(sample_answers(options.answer, options.say), options.port)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    signal.signal(signal.SIGINT, lambda *_: os._exit(0))
    sys.stdout.write(f"{serving.server_port}\n")
    sys.stdout.flush()
    threading.Thread(target=_until_input_ends, daemon=True).start()
    serving.serve_forever()
    return 0


def _until_input_ends() -> None:
    while os.read(0, 4096):
        pass
    os._exit(0)


if __name__ == "__main__":
    raise SystemExit(main())
