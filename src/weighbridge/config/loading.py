"""A configuration file, read and checked."""

import tomllib
from pathlib import Path

import msgspec

from weighbridge.config.checks import check
from weighbridge.config.loaded import Loaded
from weighbridge.config.shape import converted, refuse_unknown
from weighbridge.config.tree import Config
from weighbridge.errors import ConfigError

DEFAULT_FILE = "weighbridge.toml"


def load(file: str | Path = DEFAULT_FILE) -> Loaded:
    """Read and check a configuration file. Raises `ConfigError`."""
    path = Path(file)
    return loads(read_text(path), file=str(file), folder=path.resolve().parent)


def read_text(file: str | Path) -> str:
    """The text of a configuration file, unchecked. Raises `ConfigError`."""
    try:
        return Path(file).read_bytes().decode()
    except FileNotFoundError:
        raise ConfigError(
            str(file), "file", "does not exist; `weighbridge init` writes one, --config names another"
        ) from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ConfigError(
            str(file), "file", f"is not UTF-8 text (line {line}); save it as UTF-8, as TOML asks for"
        ) from None
    except OSError as error:
        raise ConfigError(str(file), "file", f"cannot be read: {error.strerror or error}") from None


def loads(text: str, *, file: str = DEFAULT_FILE, folder: Path | None = None) -> Loaded:
    """Like `load`, from text; relative paths are taken from `folder` (default: the working directory)."""
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(file, "file", f"is not TOML: {error}") from None
    refuse_unknown(file, "", tree, Config)
    try:
        config = msgspec.convert(tree, Config, strict=True)
    except msgspec.ValidationError as error:
        raise converted(file, tree, error) from None
    loaded = Loaded(config, file, folder or Path.cwd())
    check(loaded)
    return loaded
