"""The sample as traffic: each request sent once through a gateway, as an application would send it."""

import http.client
import json
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from urllib.parse import urlsplit

from weighbridge.errors import WeighbridgeError
from weighbridge.samples.items import SampleItem

AT_ONCE = 4
ANSWER_S_MAX = 120.0


class _Line:
    """One kept-alive connection per thread."""

    def __init__(self, base_url: str, key: str) -> None:
        parts = urlsplit(base_url)
        self._host, self._port, self._path = parts.hostname or "", parts.port, f"{parts.path}/chat/completions"
        self._key = key
        self._own = threading.local()

    def post(self, body: dict[str, object], tags: Sequence[str]) -> tuple[int, bytes]:
        connection: http.client.HTTPConnection | None = getattr(self._own, "connection", None)
        if connection is None:
            connection = http.client.HTTPConnection(self._host, self._port, timeout=ANSWER_S_MAX)
            self._own.connection = connection
        headers = {
            "Authorization": f"Bearer {self._key}",
            "Content-Type": "application/json",
            "x-weighbridge-tag": ", ".join(tags),
        }
        connection.request("POST", self._path, json.dumps(body), headers)
        response = connection.getresponse()
        return response.status, response.read()


def send_sample(
    base_url: str,
    key: str,
    route: str,
    items: Sequence[SampleItem],
    *,
    hand_written: bool,
    progress: Callable[[int], None],
) -> None:
    """Send every item to `route`, tagged with its task; every fifth is streamed. `progress` gets the number answered.

    Raises `WeighbridgeError` at the first request that is not answered, with what came instead.
    """
    line = _Line(base_url, key)
    done = 0
    lock = threading.Lock()

    def one(number: int, item: SampleItem) -> None:
        nonlocal done
        body: dict[str, object] = {
            "model": route,
            "messages": [{"role": turn.role, "content": turn.content} for turn in item.messages],
            "max_tokens": item.max_tokens,
            "temperature": 0,
        }
        if number % 5 == 0:
            body["stream"] = True
        tags = [f"task={item.tags.task}", *(["incumbent=hand-written"] if hand_written else [])]
        try:
            status, answer = line.post(body, tags)
        except (OSError, http.client.HTTPException) as error:
            raise WeighbridgeError(f"request {item.id} of the sample got no answer: {error}") from None
        if status != 200:
            said = answer.decode(errors="replace")[:300]
            raise WeighbridgeError(f"request {item.id} of the sample was answered with status {status}: {said}")
        with lock:
            done += 1
            progress(done)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        sent = [pool.submit(one, number, item) for number, item in enumerate(items)]
        finished, open_ = wait(sent, return_when=FIRST_EXCEPTION)
        for future in open_:
            future.cancel()
        for future in finished:
            future.result()
