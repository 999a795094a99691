"""The control socket: how workers, the command line and the admin process reach the keeper.

One JSON object a line in each direction over `<store>/control.sock` (mode 0600). A request is a tagged record below;
its answer is the record named in its docstring, or `Failed`. After `Hello`, the keeper also pushes events on that
connection.
"""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

from weighbridge.errors import ControlError, NotAllowedError, NotThereError
from weighbridge.records.backup import Facts, WrittenOff
from weighbridge.records.drill import DrillView
from weighbridge.records.frames import Purpose
from weighbridge.records.ramp import RampStatus, Stage
from weighbridge.records.trial import TrialPurpose
from weighbridge.store.funds import Ask, Given, Standing
from weighbridge.store.layout import Layout
from weighbridge.store.lines import Message
from weighbridge.store.people_calls import (
    ListApiTokens,
    ListUsers,
    PeopleAnswer,
    PeopleChange,
    PeopleRequest,
    ShowAudit,
)

LINE_BYTES_MAX = 256 << 20

ObjectKind = Literal[
    "evidence",
    "verdict",
    "finding",
    "gold",
    "trial",
    "statement",
    "price",
    "adjustment",
    "ramp",
    "write_off",
    "limit",
    "drill",
    "sweep",
    "aa",
]


ClaimEnd = Literal["answered", "released", "lost"]


# --- answers ----------------------------------------------------------------------------------------------------------


class Done(Message, frozen=True, kw_only=True, tag="done"):
    """It is done and durable."""


FailedKind = Literal["refused", "not_allowed", "not_there"]


class Failed(Message, frozen=True, kw_only=True, tag="failed"):
    message: str
    kind: FailedKind = "refused"


class Pong(Message, frozen=True, kw_only=True, tag="pong"):
    pid: int
    table: int
    workers: int
    listen: str | None
    """HOST:PORT the workers listen on; `None` while nothing serves."""
    local: str | None = None
    """HOST:PORT for commands of this machine, where `listen` speaks TLS."""
    clients: int = 0
    """Open connections that are not workers, the asking one included."""
    admin: str | None = None
    """HOST:PORT of dashboard and admin API; `None` where nothing serves them."""


class TableNumber(Message, frozen=True, kw_only=True, tag="table"):
    number: int


class ObjectRow(Message, frozen=True, kw_only=True, tag="object"):
    digest: str
    kind: ObjectKind
    created_ns: int
    label: str
    """What it is about, e.g. `assistant/qwen-72b`; for listings."""


class ObjectList(Message, frozen=True, kw_only=True, tag="objects"):
    rows: tuple[ObjectRow, ...]


class TokenText(Message, frozen=True, kw_only=True, tag="token_text"):
    text: str


class ErasedCount(Message, frozen=True, kw_only=True, tag="erased"):
    exchanges: int
    bodies: int
    notes: tuple[str, ...] = ()
    """What could not be erased, or not yet, one sentence each."""


class SealedCount(Message, frozen=True, kw_only=True, tag="sealed"):
    segments: int


class Signature(Message, frozen=True, kw_only=True, tag="signature"):
    signature: str
    """Ed25519, 128 hex digits."""
    digest: str
    """The stored object."""


class KeyRow(Message, frozen=True, kw_only=True, tag="key"):
    """A client key as it stands. What is `None` of a key from the configuration file is written there, not here."""

    name: str
    source: Literal["config", "created"]
    team: str | None
    routes: tuple[str, ...]
    budget: str | None
    created_ns: int | None = None
    revoked_ns: int | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    live: tuple[tuple[str, int | None], ...] = ()
    """(first 8 digits of the digest, when it expires) of each live secret, oldest first."""
    table: int | None = None
    """The route table that holds the change; `None` while nothing serves: the next `serve` publishes it."""


class KeyList(Message, frozen=True, kw_only=True, tag="keys"):
    rows: tuple[KeyRow, ...]


class Standings(Message, frozen=True, kw_only=True, tag="standings"):
    rows: tuple[Standing, ...]
    ledger: str
    """Which database it is in."""


class LimitSet(Message, frozen=True, kw_only=True, tag="limit_set"):
    """It is signed into the log. `table`: the route table that holds it; `None` while nothing serves."""

    before_nanousd: int
    after_nanousd: int
    by: str
    table: int | None


class Funds(Message, frozen=True, kw_only=True, tag="funds"):
    """Answer to `AskFunds`, which may come after other answers."""

    call: int
    given: tuple[Given, ...] = ()
    problem: str | None = None
    """The ledger cannot be asked; the written fail mode decides."""


class Claimed(Message, frozen=True, kw_only=True, tag="claimed"):
    """It is yours to carry out; tell its end with `SettleClaim`."""


class Replayed(Message, frozen=True, kw_only=True, tag="replayed"):
    answer: bytes
    """The whole HTTP answer that the first one got."""


class ClaimMismatch(Message, frozen=True, kw_only=True, tag="claim_mismatch"):
    """The same idempotency key came with another request."""


class ClaimLost(Message, frozen=True, kw_only=True, tag="claim_lost"):
    """The first one may have been carried out, and nobody knows its answer."""


class FoundRow(msgspec.Struct, frozen=True, kw_only=True):
    """An exchange that has begun, as far as it tells who asked for what."""

    id: str
    key: str
    purpose: Purpose
    route: str
    conversation: str
    slice: str
    arm: str | None
    """Of its last attempt."""


class FoundExchanges(Message, frozen=True, kw_only=True, tag="found_exchanges"):
    rows: tuple[FoundRow, ...]
    """Of those asked for, the ones that are in the log."""


class DrillAnswer(Message, frozen=True, kw_only=True, tag="drills"):
    drills: tuple[DrillView, ...]


class RampAnswer(Message, frozen=True, kw_only=True, tag="ramps"):
    ramps: tuple[RampStatus, ...]
    notes: tuple[str, ...] = ()
    """What a person should know beside it, one sentence each."""


class SnapshotTaken(Message, frozen=True, kw_only=True, tag="snapshot_taken"):
    """It lies in `<store>/snapshots/NAME/store`, and is removed when nobody holds `../busy`."""

    name: str
    facts: Facts


class LostWorker(Message, frozen=True, kw_only=True, tag="lost_worker"):
    """A worker that is gone, whose log cannot be read to its end: what it was leased stays used."""

    worker: str
    leases: int
    nanousd: int
    """Leased to it, and not known to be spent or not."""
    why: str


class LostWorkers(Message, frozen=True, kw_only=True, tag="lost_workers"):
    rows: tuple[LostWorker, ...]


class WriteOffRows(Message, frozen=True, kw_only=True, tag="write_off_rows"):
    rows: tuple[WrittenOff, ...]
    digest: str
    """Of the signed object that says so."""


# --- events, pushed after Hello ---------------------------------------------------------------------------------------


class TableChanged(Message, frozen=True, kw_only=True, tag="table_changed"):
    number: int


class RollSegments(Message, frozen=True, kw_only=True, tag="roll_segments"):
    """Close the segments in use and go on in new ones, then answer `Rolled`: the keeper wants to seal or erase."""


class CallBack(Message, frozen=True, kw_only=True, tag="call_back"):
    """Give back what is not held of these leases, then answer `GiveBack` with the same number: others need it."""

    number: int
    leases: tuple[int, ...]


class Released(Message, frozen=True, kw_only=True, tag="released"):
    """What a worker said in `Release` is stored: it need not say it again."""

    leases: tuple[int, ...]


class Void(Message, frozen=True, kw_only=True, tag="void"):
    """These leases hold no more: a backup was put back, or they were written off. Nothing may be spent of them."""

    leases: tuple[int, ...]


# --- requests ---------------------------------------------------------------------------------------------------------


class Ping(Message, frozen=True, kw_only=True, tag="ping"):
    """Answer: `Pong`."""


class Hello(Message, frozen=True, kw_only=True, tag="hello"):
    """A worker says that it is there. Answer: `Done`; then events come on this connection."""

    incarnation: str
    pid: int
    listen: str
    local: str | None = None
    """HOST:PORT for commands of this machine, where `listen` speaks TLS; takes trial tokens only."""


class Rolled(Message, frozen=True, kw_only=True, tag="rolled"):
    """A worker's answer to `RollSegments`; the keeper does not answer it."""

    incarnation: str
    segment: int
    """The first segment number that is still open; all before it may be sealed."""


class ShowBudgets(Message, frozen=True, kw_only=True, tag="show_budgets"):
    """Answer: `Standings`, up to date with the log."""

    users: bool = False


class SetLimit(Message, frozen=True, kw_only=True, tag="set_limit"):
    """Give a budget another limit than the configuration file says, or that one again. Answer: `LimitSet`."""

    budget: str
    limit_nanousd: int | None
    """`None`: what the file says."""
    why: str = ""
    by: str | None = None
    """Who asks; `None`: the login that runs the keeper."""


class AskFunds(Message, frozen=True, kw_only=True, tag="ask_funds"):
    """A worker needs room on budgets. Answer: `Funds`, when it is decided; other calls are answered meanwhile."""

    call: int
    asks: tuple[Ask, ...]


class GiveBack(Message, frozen=True, kw_only=True, tag="give_back"):
    """Parts of leases that a worker does not need; they are the keeper's again. Not answered."""

    number: int
    """Of the `CallBack`; 0 where nobody asked."""
    leases: tuple[tuple[int, int], ...]
    """Lease and nano-dollars."""


class Release(Message, frozen=True, kw_only=True, tag="release"):
    """Leases that a worker is done with, and what it spent of each. Not answered."""

    leases: tuple[tuple[int, int], ...]


class Overdrawn(Message, frozen=True, kw_only=True, tag="overdrawn"):
    """A provider charged more than was held: the lease has this much more, whatever the cap says. Not answered."""

    lease: int
    nanousd: int


class Holding(Message, frozen=True, kw_only=True, tag="holding"):
    """After `Hello`: the leases that the worker has, and how much of each it was granted. Not answered."""

    leases: tuple[tuple[int, int], ...]


class Reload(Message, frozen=True, kw_only=True, tag="reload"):
    """Read the configuration again and publish a new route table. Answer: `TableNumber`."""


class Seal(Message, frozen=True, kw_only=True, tag="seal"):
    """Roll and seal everything written so far, sign a head. Answer: `SealedCount`."""


class PutObject(Message, frozen=True, kw_only=True, tag="put_object"):
    """Store bytes under their SHA-256 and sign them into the chain. Idempotent. Answer: `ObjectRow`."""

    kind: ObjectKind
    label: str
    body: bytes


class SignStatement(Message, frozen=True, kw_only=True, tag="sign_statement"):
    """Sign a licence statement (`records.statement`, without its signature) and store it. Answer: `Signature`."""

    label: str
    body: bytes


class ListObjects(Message, frozen=True, kw_only=True, tag="list_objects"):
    """Answer: `ObjectList`, oldest first. The bytes lie in `<store>/objects/DIGEST`."""

    kind: ObjectKind | None = None


class IssueToken(Message, frozen=True, kw_only=True, tag="issue_token"):
    """Answer: `TokenText`, for the header `x-weighbridge-trial`."""

    trial: str
    route: str
    arm: str
    budget_nanousd: int | None
    ttl_s: int = 3600
    purpose: TrialPurpose = "trial"


class Erase(Message, frozen=True, kw_only=True, tag="erase"):
    """Erase captured bodies and derived copies; exactly one of the fields is set. Answer: `ErasedCount`."""

    exchanges: tuple[str, ...] = ()
    key: str | None = None
    user: str | None = None


class CreateKey(Message, frozen=True, kw_only=True, tag="create_key"):
    """Let a new client in. Answer: `KeyRow`. The secret stays with the command; only its digest comes here."""

    name: str
    digest: str
    team: str | None = None
    routes: tuple[str, ...] = ("*",)
    budget: str | None = None
    expires_ns: int | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None


class LimitKey(Message, frozen=True, kw_only=True, tag="limit_key"):
    """Give a key other limits of its rate; `None`: no limit, left out: as it is. Answer: `KeyRow`."""

    name: str
    requests_per_minute: int | msgspec.UnsetType | None = msgspec.UNSET
    tokens_per_minute: int | msgspec.UnsetType | None = msgspec.UNSET


class RotateKey(Message, frozen=True, kw_only=True, tag="rotate_key"):
    """Give a key a new secret beside the old one, which ends `overlap_ns` from now. Answer: `KeyRow`."""

    name: str
    digest: str
    overlap_ns: int
    expires_ns: int | None = None


class RevokeKey(Message, frozen=True, kw_only=True, tag="revoke_key"):
    """End a key for good; with `old_only` all its secrets but the newest. Answer: `KeyRow`."""

    name: str
    old_only: bool = False


class ListKeys(Message, frozen=True, kw_only=True, tag="list_keys"):
    """Answer: `KeyList`."""


class Claim(Message, frozen=True, kw_only=True, tag="claim"):
    """May this exchange carry out the request? Answer: `Claimed`, `Replayed`, `ClaimMismatch` or `ClaimLost`; while the
    first request with this idempotency key is under way there is no answer yet.
    """

    client_key: str
    token: str
    body: str
    """SHA-256 of path and body, 64 hex digits."""
    owner: str
    """The exchange."""


class SettleClaim(Message, frozen=True, kw_only=True, tag="settle_claim"):
    """The claimed request has ended. Answer: `Done`; then its answer is kept, on disk."""

    client_key: str
    token: str
    owner: str
    end: ClaimEnd
    answer: bytes = b""


class FindExchanges(Message, frozen=True, kw_only=True, tag="find_exchanges"):
    """Who asked these, and where did it go? Answer: `FoundExchanges`."""

    ids: tuple[str, ...]


RampAction = Literal["propose", "approve", "start", "advance", "pause", "resume", "rollback", "reject"]


class RampAct(Message, frozen=True, kw_only=True, tag="ramp_act"):
    """A person moves a ramp. Answer: `RampAnswer` with that ramp."""

    action: RampAction
    route: str
    candidate: str | None = None
    """To propose; else the ramp's own."""
    verdict: str | None = None
    """To propose: the digest of the verdict that allows it."""
    up_to: Stage | None = None
    """To approve."""
    accepts: tuple[str, ...] = ()
    """To approve: gates whose unknown answer is taken upon oneself."""
    why: str = ""
    token: str | None = None
    """An approver's; without any configured, the login that runs the keeper stands for it."""


class DrillAct(Message, frozen=True, kw_only=True, tag="drill_act"):
    """A person starts or stops a drill. Answer: `DrillAnswer` of that route."""

    action: Literal["start", "stop"]
    route: str
    arm: str | None = None
    """To start; else the route's first fallback, or the way back of its ramp."""
    basis_points: int = 0
    seconds: int = 0
    why: str = ""
    token: str | None = None
    """As in `RampAct`."""


class DrillShow(Message, frozen=True, kw_only=True, tag="drill_show"):
    """Answer: `DrillAnswer`, of all routes or one, newest first."""

    route: str | None = None


class RampShow(Message, frozen=True, kw_only=True, tag="ramp_show"):
    """Answer: `RampAnswer`, of all routes or one."""

    route: str | None = None


class TakeSnapshot(Message, frozen=True, kw_only=True, tag="take_snapshot"):
    """Seal, and keep the store as it is now for a backup. Answer: `SnapshotTaken`."""


class SignBackup(Message, frozen=True, kw_only=True, tag="sign_backup"):
    """Sign the list of members of a backup (`records.backup.Manifest`). Answer: `Signature`."""

    body: bytes


class DropSnapshot(Message, frozen=True, kw_only=True, tag="drop_snapshot"):
    """Answer: `Done`."""

    name: str


class ListLost(Message, frozen=True, kw_only=True, tag="list_lost"):
    """Answer: `LostWorkers`."""


class WriteOffWorker(Message, frozen=True, kw_only=True, tag="write_off_worker"):
    """Book all that a lost worker was leased as spent; a person takes it upon themselves. Answer: `WriteOffRows`."""

    worker: str
    reason: str
    by: str


class Stop(Message, frozen=True, kw_only=True, tag="stop"):
    """Seal what can be sealed and end the keeper (only when nothing serves). Answer: `Done`."""


KeyAnswer = KeyRow | KeyList
ClaimAnswer = Claimed | Replayed | ClaimMismatch | ClaimLost


class TellAlert(Message, frozen=True, kw_only=True, tag="tell_alert"):
    """`serve` saw in its metrics that an alert is to be raised, or has ended: tell whom the configuration names.
    -> `Done`"""

    alert: str
    state: Literal["raised", "ended"]
    subject: str
    lines: tuple[str, ...]
    labels: dict[str, str]


Asked = (
    RampAct | SetLimit | CreateKey | LimitKey | RotateKey | RevokeKey | Reload | Erase | Seal | PeopleChange
    | ListUsers | ListApiTokens | ShowAudit | DrillAct
)  # fmt: skip
"""What a person may ask for over the admin process; `keeper.acting` says which role each takes."""


class As(Message, frozen=True, kw_only=True, tag="as"):
    """A request in the name of a person: the keeper looks up who it is, holds it against their role and teams, and
    writes down what came of it. Answer: that of the request.
    """

    credential: str
    """The secret of a session or of an API token."""
    request: Asked


Answer = (
    Done | Failed | Pong | TableNumber | ObjectRow | ObjectList | TokenText | ErasedCount | SealedCount | Signature
    | KeyAnswer | LimitSet | ClaimAnswer | Funds | Standings | RampAnswer | FoundExchanges
    | SnapshotTaken | LostWorkers | WriteOffRows | DrillAnswer | PeopleAnswer
)  # fmt: skip
Event = TableChanged | RollSegments | CallBack | Released | Void
KeyChange = CreateKey | LimitKey | RotateKey | RevokeKey
KeyRequest = KeyChange | ListKeys
KeepingRequest = TakeSnapshot | SignBackup | DropSnapshot | ListLost | WriteOffWorker
"""For backups, and after losses."""
FundsRequest = AskFunds | GiveBack | Release | Overdrawn | Holding
"""What a worker says about money."""
Request = (
    Ping | Hello | Rolled | Reload | Seal | PutObject | SignStatement | ListObjects | IssueToken | Erase | Stop
    | KeyRequest | FundsRequest | ShowBudgets | SetLimit | Claim | SettleClaim | RampAct | RampShow
    | FindExchanges | KeepingRequest | TellAlert | DrillAct | DrillShow | PeopleRequest | As
)  # fmt: skip

_ERRORS: dict[FailedKind, type[ControlError]] = {
    "refused": ControlError,
    "not_allowed": NotAllowedError,
    "not_there": NotThereError,
}

A = TypeVar("A")


@contextmanager
def socket_address(path: Path) -> Iterator[str]:
    """An address to bind or connect to for a socket at `path`, however long the path is.

    The kernel takes 107 bytes of path; a store may lie deeper. Going through an open folder keeps it short.
    """
    if len(os.fsencode(path)) <= 107:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


class ControlClient:
    """A blocking client. Raises `ControlError` when the keeper cannot be reached or refuses."""

    def __init__(self, layout: Layout, timeout_s: float = 60.0) -> None:
        self._path = str(layout.control)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout_s)
        try:
            with socket_address(layout.control) as address:
                self._socket.connect(address)
        except OSError as error:
            self._socket.close()
            raise ControlError(f"no keeper answers at {self._path} ({error.strerror or error})") from None
        self._lines = self._socket.makefile("rb")
        self._decoder = msgspec.json.Decoder(Answer)

    def call(self, request: Message, answer: type[A]) -> A:
        try:
            self._socket.sendall(msgspec.json.encode(request) + b"\n")
            line = self._lines.readline(LINE_BYTES_MAX)
        except OSError as error:
            raise ControlError(f"the keeper at {self._path} did not answer {type(request).__name__}: {error}") from None
        if not line.endswith(b"\n"):
            raise ControlError(f"the keeper at {self._path} went away during {type(request).__name__}")
        got = self._decoder.decode(line)
        if isinstance(got, answer):
            return got
        if isinstance(got, Failed):
            raise _ERRORS[got.kind](got.message)
        raise ControlError(f"the keeper answered {type(got).__name__} to {type(request).__name__}")

    def close(self) -> None:
        self._lines.close()
        self._socket.close()

    def __enter__(self) -> "ControlClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
