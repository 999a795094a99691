"""Secrets are references. The form is checked when the file is read, the value is resolved only where it is used."""

import os
from pathlib import Path

from weighbridge.errors import ConfigError


def check_secret_form(file: str, key: str, reference: str) -> None:
    kind, _, name = reference.partition(":")
    if kind not in ("env", "file") or not name:
        # The value is not shown: it may be the secret itself.
        raise ConfigError(file, key, "must be a reference, not a secret", allowed="env:NAME or file:PATH")


def secret(reference: str, folder: Path) -> str:
    """Resolve `env:NAME` or `file:PATH` (relative to `folder`).

    Raises `LookupError` saying what is missing, never the value.
    """
    kind, _, name = reference.partition(":")
    if kind == "env":
        value = os.environ.get(name, "")
        if not value:
            raise LookupError(f"the environment variable {name} is not set")
        return value
    path = folder / Path(name).expanduser()
    try:
        value = path.read_text().strip()
    except OSError as error:
        raise LookupError(f"the secret file {path} cannot be read: {error.strerror}") from None
    if not value:
        raise LookupError(f"the secret file {path} is empty")
    return value
