"""The configuration: one file, `weighbridge.toml`, read into one typed tree.

Unknown keys are refused with the nearest known key; every error names the file, the key, the value and what is allowed.
Secrets are references (`env:NAME`, `file:PATH`); `secrets.secret` is the only place that resolves them.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from weighbridge.config.checks import parse_address
    from weighbridge.config.loaded import Loaded
    from weighbridge.config.loading import DEFAULT_FILE, load, loads, read_text
    from weighbridge.config.secrets import secret
    from weighbridge.config.tree import Config

__all__ = ["DEFAULT_FILE", "Config", "Loaded", "load", "loads", "parse_address", "read_text", "secret"]

_WHERE = {
    "DEFAULT_FILE": "loading", "Config": "tree", "Loaded": "loaded", "load": "loading", "loads": "loading",
    "parse_address": "checks", "read_text": "loading", "secret": "secrets",
}  # fmt: skip


def __getattr__(name: str) -> object:
    """Imported when it is first asked for: a gateway worker resolves secrets and never reads the file."""
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
