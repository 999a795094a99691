"""What is read before it is kept, and what an operator writes: redaction and the configuration file."""

import json
from contextlib import suppress
from pathlib import Path

from weighbridge.config import loads
from weighbridge.errors import ConfigError
from weighbridge.exchanges.redact import redact

SECRET = "sk-proj-" + "aB3" * 12


def redaction(data: bytes) -> None:
    """Any body: what stays was there, a key between spaces goes, and JSON stays JSON."""
    cleaned, changed = redact(("secrets",), data)
    assert changed == (cleaned is not None and cleaned != data)
    text = data.decode(errors="replace")
    half = len(text) // 2
    body = json.dumps({"messages": [{"content": f"{text[:half]} {SECRET} {text[half:]}"}]}).encode()
    cleaned, changed = redact(("secrets",), body)
    if cleaned is None:
        return  # too much work: not kept at all
    assert changed
    assert SECRET.encode() not in cleaned
    json.loads(cleaned)


def config(data: bytes) -> None:
    """Any file: a configuration, or an error in its own words."""
    with suppress(ConfigError):
        loads(data.decode(errors="replace"), folder=Path("/nonexistent"))
