"""Trial tokens: signed by the keeper, checked by every gateway worker with the public key in its route table."""

from base64 import urlsafe_b64encode
from typing import Protocol

from weighbridge.errors import ControlError
from weighbridge.keeper.compile import TRIAL_KEY_NAME
from weighbridge.records.canonical import canonical
from weighbridge.records.permission import arm_refusal
from weighbridge.records.table import RouteTable
from weighbridge.records.trial import TrialToken
from weighbridge.store.control import IssueToken


class Signer(Protocol):
    def sign(self, message: bytes) -> bytes:
        """An Ed25519 signature, 64 bytes."""
        ...


TTL_S_MAX = 7 * 24 * 3600


def trial_token(table: RouteTable | None, asked: IssueToken, now_ns: int) -> TrialToken:
    """The token for a request. Raises `ControlError` where the current route table does not allow it."""
    if table is None:
        raise ControlError("no route table is published yet, so no trial can run; start `weighbridge serve`")
    route = table.route(asked.route)
    if route is None:
        known = ", ".join(row.name for row in table.routes)
        raise ControlError(f"route table {table.number} has no route {asked.route!r}; it has: {known}")
    arms = (route.incumbent, *route.candidates)
    if asked.arm not in arms:
        raise ControlError(
            f"route {route.name!r} of route table {table.number} has no arm {asked.arm!r}; it has: {', '.join(arms)}. "
            "If the configuration was edited since, reload it (SIGHUP to `weighbridge serve`)."
        )
    refused = arm_refusal(table, route, asked.arm)
    if refused:
        raise ControlError(f"a trial may not send prompts there: {refused}")
    if not 1 <= asked.ttl_s <= TTL_S_MAX:
        raise ControlError(f"a trial token lives 1 to {TTL_S_MAX} seconds, not {asked.ttl_s}")
    if asked.budget_nanousd is not None and asked.budget_nanousd < 0:
        raise ControlError(f"the budget of a trial cannot be negative ({asked.budget_nanousd} nano-dollars)")
    return TrialToken(
        trial=asked.trial,
        route=route.name,
        arm=asked.arm,
        budget_nanousd=asked.budget_nanousd,
        expires_ns=now_ns + asked.ttl_s * 1_000_000_000,
        key=TRIAL_KEY_NAME,
    )


def signed(token: TrialToken, key: Signer) -> str:
    """`base64url(payload) "." base64url(signature)`, without padding."""
    payload = canonical(token)
    parts = (urlsafe_b64encode(part).rstrip(b"=").decode() for part in (payload, key.sign(payload)))
    return ".".join(parts)
