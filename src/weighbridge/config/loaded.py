"""A configuration together with where it came from."""

from pathlib import Path

import msgspec

from weighbridge.config.tree import Config


class Loaded(msgspec.Struct, frozen=True):
    """A configuration and where it came from; paths in it are relative to `folder`."""

    config: Config
    file: str
    folder: Path

    def path(self, text: str) -> Path:
        return self.folder / Path(text).expanduser()

    @property
    def store_path(self) -> Path:
        return self.path(self.config.store.path)
