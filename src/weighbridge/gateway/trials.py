"""Trial tokens: the only way for a request to have its arm chosen, and the budget that comes with it.

The budget of a token is an account of the ledger like any other (`gateway.purse`): over all workers, and over restarts,
what is held and what was spent under it stay within it.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from hashlib import blake2b

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from weighbridge.gateway.lane import Lane
from weighbridge.gateway.lanes import Lanes
from weighbridge.gateway.refusal import Refusal
from weighbridge.gateway.way import Way
from weighbridge.records.budget import TOKEN_BUDGET, Budget
from weighbridge.records.canonical import parse
from weighbridge.records.trial import TOKEN_BYTES_MAX, TOKEN_HEADER, TrialToken

PASSES_MAX = 256


class TrialPass:
    """A verified token, and the account that its budget is."""

    __slots__ = ("budget", "proof", "subject", "token")

    def __init__(self, token: TrialToken, proof: tuple[bytes, bytes], payload: bytes) -> None:
        self.token, self.proof = token, proof
        limit = token.budget_nanousd
        self.budget = (
            None if limit is None else Budget(name=TOKEN_BUDGET, limit_nanousd=limit, window="total", hard=True)
        )
        self.subject = f"{token.trial}:{blake2b(payload, digest_size=16).hexdigest()}"


class TrialDesk:
    """Checks tokens. A verified one is remembered by its payload: its signature is checked once, its expiry each time.

    A payload has one spelling, so whoever has a token has one budget, however it is written.
    """

    def __init__(self) -> None:
        self._passes: dict[bytes, TrialPass] = {}

    def admit(self, header: bytes, public_key: bytes, now_ns: int) -> TrialPass | Refusal:
        payload, _, signature = header.partition(b".")
        proof = public_key, signature
        known = self._passes.get(payload)
        if known is None or known.proof != proof:
            token = _verified(header, public_key)
            if isinstance(token, str):
                return _refused(token)
            if known is not None:
                known.proof = proof  # the keeper has another key now
            else:
                known = TrialPass(token, proof, payload)
                if now_ns < token.expires_ns:
                    refusal = self._keep(payload, known, now_ns)
                    if refusal is not None:
                        return refusal
        if now_ns >= known.token.expires_ns:
            return _refused(f"it has expired; issue a new one for trial {known.token.trial}")
        return known

    def _keep(self, payload: bytes, verified: TrialPass, now_ns: int) -> Refusal | None:
        if len(self._passes) >= PASSES_MAX:
            self._drop_expired(now_ns)
        if len(self._passes) >= PASSES_MAX:
            # Each is a signature to check anew: whoever floods us with tokens must not make that the rule.
            return Refusal(
                status=503,
                code="trial_tokens_max",
                message=f"{PASSES_MAX} trial tokens are in use already; try again when one has expired",
                retry_after_s=60,
            )
        self._passes[payload] = verified
        return None

    def _drop_expired(self, now_ns: int) -> None:
        for payload in [payload for payload, row in self._passes.items() if row.token.expires_ns <= now_ns]:
            del self._passes[payload]


def _verified(header: bytes, public_key: bytes) -> TrialToken | str:
    """The token, or why it is none."""
    payload_text, dot, signature_text = header.partition(b".")
    if not dot or len(header) > TOKEN_BYTES_MAX:
        return "it has not the form PAYLOAD.SIGNATURE"
    try:
        payload, signature = _bytes_of(payload_text), _bytes_of(signature_text)
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, payload)
    except (Base64Error, ValueError):
        return "it is not base64url without padding"
    except InvalidSignature:
        return "its signature is not of this store's keeper"
    try:
        return parse(payload, TrialToken)
    except ValueError as error:
        return str(error)


def _bytes_of(text: bytes) -> bytes:
    """Raises `ValueError` where `text` is not how base64url without padding writes these bytes."""
    content = urlsafe_b64decode(text + b"=" * (-len(text) % 4))
    if urlsafe_b64encode(content).rstrip(b"=") != text:
        raise ValueError("another spelling of the same bytes")
    return content


def _refused(why: str) -> Refusal:
    return Refusal(status=403, code="invalid_trial_token", message=f"the token in {TOKEN_HEADER} is refused: {why}")


def lane_of(trial: TrialPass, lanes: Lanes, model: str) -> tuple[Way, Lane] | Refusal:
    """The lane that a token forces, whatever the request's shares would say."""
    token = trial.token
    way = lanes.ways.get(token.route)
    if way is None:
        return _refused(f"route table {lanes.number} has no route {token.route!r}")
    asked = lanes.by_model.get(model)
    if asked is not None and asked is not way:
        # Otherwise a prompt of one route could pass under another route's permissions.
        return _refused(f"it is for route {token.route!r}, and the request is for {asked.name!r}")
    lane = way.own_lanes.get(token.arm)
    if lane is None:
        known = ", ".join(way.own_lanes)
        return _refused(f"route {token.route!r} of route table {lanes.number} has no arm {token.arm!r}, only: {known}")
    return way, lane
