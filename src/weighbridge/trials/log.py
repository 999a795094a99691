"""The exchange log as a trial sees it: user traffic, its own replays, and captured bodies."""

from collections.abc import Iterator

from weighbridge.config import Loaded, secret
from weighbridge.errors import WeighbridgeError
from weighbridge.exchanges.keys import master_key
from weighbridge.exchanges.reader import BodyReader, Follower, read
from weighbridge.records.exchange import BodyState, Exchange
from weighbridge.records.frames import BodyRef
from weighbridge.store.layout import Layout


class TrialLog:
    """One store's log. Bodies are read one at a time; nothing is kept but what the caller keeps."""

    def __init__(self, loaded: Loaded) -> None:
        self.layout = Layout(loaded.store_path)
        reference = loaded.config.capture.encrypt_key
        try:
            key = None if reference is None else secret(reference, loaded.folder).encode()
        except LookupError as error:
            raise WeighbridgeError(f"captured bodies cannot be read: capture.encrypt_key: {error}") from None
        self._bodies = BodyReader(self.layout, master_key(self.layout, key))

    def users(self, route: str) -> Iterator[Exchange]:
        """User exchanges of a route, in the log's order."""
        return read(self.layout, route=route, purpose="user")

    def users_since(self, route: str, ns: int) -> Iterator[Exchange]:
        """Those from this moment on, without a look at what is older."""
        return read(self.layout, route=route, purpose="user", since_ns=ns)

    def replays(self, trial: str) -> list[Exchange]:
        """Everything that a trial sent, oldest first."""
        return list(read(self.layout, purpose="trial", trial=trial))

    def judgements(self, trial: str) -> list[Exchange]:
        """Everything that a trial asked its judges, oldest first."""
        return list(read(self.layout, purpose="judge", trial=trial))

    def body(self, ref: BodyRef) -> BodyState:
        return self._bodies.get(ref)

    def follower(self) -> Follower:
        return Follower(self.layout)
