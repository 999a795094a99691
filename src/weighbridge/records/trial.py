"""The token that lets a trial's replays through the gateway, and the trial's identity."""

import re
from hashlib import sha256
from typing import Literal

import msgspec

TOKEN_HEADER = "x-weighbridge-trial"  # noqa: S105 (the name of a header, not a secret)
"""Carries `base64url(payload) "." base64url(signature)`, the payload being the canonical JSON of a `TrialToken`."""
TOKEN_BYTES_MAX = 4096
"""Of the header's value; neither issued nor accepted beyond."""
TRIAL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""What a trial may be called: it is the name of a folder, a column of the log and part of messages."""
ITEM_HEADER = "x-weighbridge-item"
"""Carries the id of the exchange that is replayed; only looked at beside a valid token."""

TrialPurpose = Literal["trial", "judge"]


class TrialToken(msgspec.Struct, frozen=True, kw_only=True):
    """Signed by the keeper (Ed25519). It forces the arm, without fallback; no client header can choose an arm."""

    trial: str
    route: str
    arm: str
    budget_nanousd: int | None
    """What may be spent under this token; `None` is no limit. An account of the ledger: it holds over all workers."""
    expires_ns: int
    key: str
    """The client key name that the exchanges are booked on (`trial`)."""
    purpose: TrialPurpose = "trial"
    """A replay to a candidate, or a judge's opinion on two answers."""


def trial_id(route: str, arm: str, span_digest: str, margin: float, alpha: float, seed: int | None) -> str:
    """One trial is (route, arm, span, margin, alpha, seed): the same six give the same id, so a rerun resumes it.

    `arm` is the arm's identity (`Loaded.arm_identity`), not its name alone: another model, host or prompt under the
    same name is another arm.
    """
    identity = "\n".join((route, arm, span_digest, repr(margin), repr(alpha), repr(seed)))
    return "t-" + sha256(identity.encode()).hexdigest()[:16]


Split = Literal["a", "b"]


def split_of(conversation: str) -> Split:
    """Which half a conversation belongs to, by its hash: prompts are tuned on `a`, their verdicts come from `b`."""
    return "a" if sha256(b"split\0" + conversation.encode()).digest()[0] < 128 else "b"
