"""How the processes log: one line an event, for people or as JSON."""

import json
import logging
import os
import re
import sys
from datetime import UTC, datetime
from typing import Literal

LogFormat = Literal["text", "json"]

_EXCHANGE = re.compile(r"\b[0-9a-f]{16}-[0-9a-f]+\b")


class JsonLines(logging.Formatter):
    """`{"time", "level", "logger", "pid", "message", "request_id"?, "error"?}`, one object a line."""

    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage()
        found = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "pid": os.getpid(),
            "message": message,
        }
        request = _EXCHANGE.search(message)
        if request is not None:
            found["request_id"] = request[0]
        if record.exc_info:
            found["error"] = self.formatException(record.exc_info)
        return json.dumps(found, ensure_ascii=False)


def log_to_stderr(form: LogFormat = "text", *, quiet: bool = False) -> None:
    handler = logging.StreamHandler(sys.stderr)
    if form == "json":
        handler.setFormatter(JsonLines())
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(name)s: %(message)s", datefmt="%H:%M:%S"))
    logging.basicConfig(handlers=[handler], level=logging.WARNING if quiet else logging.INFO)
