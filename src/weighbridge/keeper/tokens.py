"""Trial tokens: signed by the keeper, checked by every gateway worker with the public key in its route table."""

from base64 import urlsafe_b64encode
from typing import Protocol

from weighbridge.errors import ControlError
from weighbridge.keeper.compile import TRIAL_KEY_NAME
from weighbridge.records.canonical import canonical
from weighbridge.records.permission import arm_refusal
from weighbridge.records.table import RouteTable
from weighbridge.records.trial import TOKEN_BYTES_MAX, TRIAL_NAME, TrialToken
from weighbridge.records.usage import COST_NANOUSD_MAX
from weighbridge.store.control import IssueToken


class Signer(Protocol):
    def sign(self, message: bytes) -> bytes:
        """An Ed25519 signature, 64 bytes."""
        ...


TTL_S_MAX = 7 * 24 * 3600


def trial_token(table: RouteTable | None, asked: IssueToken, now_ns: int) -> TrialToken:
    """The token for a request. Raises `ControlError` where the current route table does not allow it."""
    if TRIAL_NAME.fullmatch(asked.trial) is None:
        raise ControlError(
            f"{asked.trial[:80]!r} is not the name of a trial; allowed are 1 to 64 letters, digits and . _ -, the "
            "first a letter or digit. `weighbridge trial run` makes one by itself."
        )
    if table is None:
        raise ControlError("no route table is published yet, so no trial can run; start `weighbridge serve`")
    route = table.route(asked.route)
    if route is None:
        known = ", ".join(row.name for row in table.routes)
        raise ControlError(f"route table {table.number} has no route {asked.route!r}; it has: {known}")
    judging = asked.purpose == "judge"
    arms = route.judges if judging else (route.incumbent, *route.candidates)
    if asked.arm not in arms:
        raise ControlError(
            f"route {route.name!r} of route table {table.number} has no {'judge' if judging else 'arm'} {asked.arm!r}; "
            f"it has: {', '.join(arms) or 'none'}. "
            "If the configuration was edited since, reload it (SIGHUP to `weighbridge serve`)."
        )
    refused = arm_refusal(table, route, asked.arm)
    if refused:
        raise ControlError(f"a trial may not send prompts there: {refused}")
    if not 1 <= asked.ttl_s <= TTL_S_MAX:
        raise ControlError(f"a trial token lives 1 to {TTL_S_MAX} seconds, not {asked.ttl_s}")
    if asked.budget_nanousd is not None and not 0 <= asked.budget_nanousd <= COST_NANOUSD_MAX:
        raise ControlError(
            f"the budget of a trial is 0 to {COST_NANOUSD_MAX} nano-dollars, not negative and not more: "
            f"{asked.budget_nanousd}"
        )
    return TrialToken(
        trial=asked.trial,
        route=route.name,
        arm=asked.arm,
        budget_nanousd=asked.budget_nanousd,
        expires_ns=now_ns + asked.ttl_s * 1_000_000_000,
        key=TRIAL_KEY_NAME,
        purpose=asked.purpose,
    )


def signed(token: TrialToken, key: Signer) -> str:
    """`base64url(payload) "." base64url(signature)`, without padding.

    Raises `ControlError` where no gateway would take it for its length.
    """
    payload = canonical(token)
    text = ".".join(urlsafe_b64encode(part).rstrip(b"=").decode() for part in (payload, key.sign(payload)))
    if len(text) > TOKEN_BYTES_MAX:
        raise ControlError(
            f"the token would have {len(text)} bytes, a gateway takes {TOKEN_BYTES_MAX}; give the route or the arm a "
            f"shorter name (they have {len(token.route)} and {len(token.arm)} characters)"
        )
    return text
