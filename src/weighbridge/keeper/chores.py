"""Keeping the exchange log: the keeper only decides when; `exchanges` knows how."""

import os

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from weighbridge.clock import Clock
from weighbridge.config.tree import CaptureSection
from weighbridge.errors import ControlError
from weighbridge.keeper.server import ControlServer
from weighbridge.store.control import Erase, ErasedCount, ObjectKind, ObjectList, ObjectRow, PutObject
from weighbridge.store.database import Database
from weighbridge.store.layout import Layout


class Chores:
    def __init__(self, layout: Layout, database: Database, clock: Clock) -> None:
        self._layout, self._database, self._clock = layout, database, clock
        path = layout.signing_key
        if not path.exists():
            fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            os.write(fd, Ed25519PrivateKey.generate().private_bytes_raw())
            os.close(fd)
        self.signing_key = Ed25519PrivateKey.from_private_bytes(path.read_bytes())

    @property
    def public_key(self) -> str:
        return self.signing_key.public_key().public_bytes_raw().hex()

    async def tick(self, server: ControlServer, capture: CaptureSection) -> None:
        pass

    async def finish(self, server: ControlServer) -> None:
        pass

    def close(self, abandon: bool) -> None:
        pass

    async def seal(self, server: ControlServer) -> int:
        raise ControlError("not yet")

    async def put(self, asked: PutObject) -> ObjectRow:
        raise ControlError("not yet")

    async def objects(self, kind: ObjectKind | None) -> ObjectList:
        raise ControlError("not yet")

    async def erase(self, asked: Erase, server: ControlServer) -> ErasedCount:
        raise ControlError("not yet")
