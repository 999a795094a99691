"""Which configuration a keeper works with: the file's, or the last one that was accepted."""

from pathlib import Path

import msgspec

from weighbridge.config import Loaded, loads, read_text
from weighbridge.store.database import AcceptedConfig, Database


class Source(msgspec.Struct, frozen=True):
    """A checked configuration with the text that it was read from."""

    loaded: Loaded
    text: str

    def remember(self, database: Database) -> None:
        """It was published: a keeper that is started again goes on with it, whatever the file says by then."""
        loaded = self.loaded
        database.remember_config(AcceptedConfig(text=self.text, file=loaded.file, folder=str(loaded.folder)))


def from_file(file: str) -> Source:
    """Raises `ConfigError`."""
    text = read_text(file)
    return Source(loads(text, file=file, folder=Path(file).resolve().parent), text)


def accepted(database: Database) -> Source | None:
    """The configuration of the newest route table; `None` before the first. Raises `ConfigError`."""
    last = database.accepted_config()
    if last is None:
        return None
    return Source(loads(last.text, file=last.file, folder=Path(last.folder)), last.text)
