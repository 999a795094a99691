"""One request on its way through the gateway, and its one exit."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from weighbridge.gateway.attempts import Failed, Tries, again, enter, left, no_place, place_given, sign
from weighbridge.gateway.cut import cut_nanousd
from weighbridge.gateway.doors import Door
from weighbridge.gateway.idempotency import Held as Claim
from weighbridge.gateway.idempotency import marked
from weighbridge.gateway.lane import Lane
from weighbridge.gateway.outgoing import Outgoing
from weighbridge.gateway.purse import Hold
from weighbridge.gateway.rates import Rate
from weighbridge.gateway.refusal import Refusal
from weighbridge.gateway.upload import Upload
from weighbridge.ledger.life import charge
from weighbridge.records.frames import Attempted, Finished, Held, Outcome, Posted, Purpose
from weighbridge.records.usage import cost_nanousd
from weighbridge.upstream import Unreachable
from weighbridge.wire.chat import NOTHING_SAID, AnswerFacts, plain_usage, word

if TYPE_CHECKING:
    from weighbridge.gateway.client import Client
    from weighbridge.gateway.copies import Note
    from weighbridge.gateway.gateway import Gateway
    from weighbridge.gateway.hedge import Race
    from weighbridge.gateway.relay import Relay

CLIENT_CLOSED: Final = 499
"""Noted as the client's status when it left before a status line was sent."""

OVERLOADED_RETRY_S = 1

CLAIM_TICKS = 4 * 86_400
"""A request that waits for another one with the same idempotency key is not forgotten: that one has its own limits."""


UPLOAD_STALLED: Final = Refusal(
    status=408, code="request_timeout", message="the rest of the request's body did not come in time"
)


class Opening(NamedTuple):
    """What is written when a request that waits for money has it, or has not got it."""

    frame: Held
    body: bytes | None
    """To be captured; in the same turn of the loop as the frame."""


class Exchange:
    """Admitted: it has an id, a lane, and a `held` frame on its way to the log.

    Every ending goes through `finish`, once: answered, refused later, cut, timed out, client gone.
    """

    __slots__ = (
        "_cost", "_parts", "asked", "attempt", "body", "capture", "claim", "client", "copy", "done", "door", "edits",
        "ended", "first_ns", "gateway", "head", "held", "hold", "id", "lane", "losses", "opening", "purpose", "race",
        "rated", "relay", "reply", "response_bytes", "seen_tick", "sent", "sent_bytes", "sent_ns", "stalled",
        "started_ns", "streams", "strip", "team", "tries", "upload", "upstream_status", "wall_ns",
    )  # fmt: skip

    def __init__(
        self,
        gateway: "Gateway",
        client: "Client",
        exchange_id: str,
        lane: Lane,
        purpose: Purpose,
        team: str | None,
        hold: Hold | None,
        held: int | None,
        capture: bool,
        call: Outgoing,
        door: Door,
        streams: bool,
        strip: bool,
    ) -> None:
        self.gateway, self.id, self.lane, self.purpose, self.team = gateway, exchange_id, lane, purpose, team
        self.client: Client | None = client
        self.hold, self.held, self.capture, self.door = hold, held, capture, door
        self.head, self.body, self.edits, self.asked, self.losses = call
        self.streams, self.strip = streams, strip
        self.started_ns = self.sent_ns = gateway.mono_ns()
        self.wall_ns = gateway.wall_ns()
        self.seen_tick = gateway.tick
        self.attempt = 0
        self.done = self.sent = self.stalled = False
        """`stalled`: its client did not read any more when it left."""
        self.relay: Relay | None = None
        self.upstream_status: int | None = None
        self.first_ns: int | None = None
        self.response_bytes = self.sent_bytes = 0
        """`sent_bytes`: of the request whose answer is a stream that has begun."""
        self.reply: tuple[bytes, bool] = (b"", False)
        self._cost: int | None = 0
        self._parts: dict[str | None, int] | None = None
        """What the attempts at arms with a budget of their own have cost, where several arms may serve."""
        self.claim: Claim | None = None
        """On an idempotency key. Nothing is sent before it is granted."""
        self.rated: tuple[Rate, int] | None = None
        """The limits of its key, and the tokens that were taken from them."""
        self.tries: Tries | None = None
        """Only where another way than straight to the lane is possible, or was taken."""
        self.copy: Note | None = None
        """Of a request that a ramp wants the other arm to answer, too; made after this one is over."""
        self.ended: Callable[[Exchange, int | None], None] | None = None
        """Who wants to hear of its end and cost, for copies."""
        self.opening: Opening | None = None
        """While it waits for room on a budget: it has not begun."""
        self.upload: Upload | None = None
        """In place of the body, where it is passed on while it comes in."""
        self.race: Race | None = None
        """On a hedged lane, until its answer begins: a second attempt may be made beside the first."""

    # --- money --------------------------------------------------------------------------------------------------------

    def funded(self, hold: Hold) -> None:
        """Its budgets have room for it now."""
        self.hold = hold
        self.open(hold.names)
        self.begin()

    def leave_out(self, arms: frozenset[str]) -> None:
        """Arms with these budgets have no money left: none of them stands in."""
        tries = self.tries
        if tries is not None:
            first, *others = tries.chain
            tries.chain = (first, *(lane for lane in others if lane.arm_budget not in arms))

    def not_funded(self, refusal: Refusal) -> None:
        self.gateway.meter.refused(refusal.code)
        self.refuse(refusal)

    def open(self, leases: tuple[int | str, ...] = ()) -> None:
        """Log that it was held, which waited for this."""
        opening, self.opening = self.opening, None
        if opening is not None:
            frame, body = opening
            frame, log = msgspec.structs.replace(frame, leases=leases), self.gateway.log
            if body is None:
                log.append(frame)
            else:
                log.capture(frame, self.team, body, self.gateway.lanes.capture.redact)

    # --- sending ------------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Make an attempt, as soon as the lane has a place for it."""
        if self.done:
            return  # the client left while another attempt was due
        if self.claim is not None and not self.claim.granted:
            self.seen_tick = self.gateway.tick + CLAIM_TICKS
            self.claim.ask()
            return
        if self.lane.guard is None:
            self.go()
        else:
            enter(self)

    def go(self) -> None:
        """Log an attempt, then send. The call goes out only when its frame is written."""
        lane, log, tries = self.lane, self.gateway.log, self.tries
        self.attempt = self.attempt + 1 if self.race is None else self.race.next_number()
        self.seen_tick = self.gateway.tick
        time_ns = self.wall_ns if self.attempt == 1 else self.gateway.wall_ns()
        fallback = tries is not None and tries.is_fallback(self.lane)
        held = None if self.attempt == 1 or self.hold is None else self.hold.nanousd
        log.append(
            Attempted(
                self.id, self.attempt, time_ns, lane.arm, lane.endpoint, lane.model, self.edits, fallback, held,
            )
        )  # fmt: skip
        log.when_written(self.send, self.not_written)

    def place_given(self) -> None:
        """It waited for a place at its endpoint, and has one."""
        place_given(self)

    def waited_too_long(self) -> None:
        no_place(self, "is busy, and no request before this one ended in time")

    def send(self) -> None:
        """The frames of this attempt are written: call the provider. The send gate stands here, before every send."""
        if self.done or self.sent:
            return  # the client left, or another attempt took over, in the same turn of the loop
        lane = self.lane
        if lane.refusal is not None or lane.target is None:
            self.refuse(gate(lane) or unusable(lane))
            return
        pool = self.gateway.pool(lane.target)
        # In place of a kept connection that was closed another kept one might be closed too. A proof that has to be
        # fetched first is fetched while dialling.
        tries = self.tries
        kept = self.attempt == 1 or (tries is not None and tries.closed == self.attempt - 1)
        if self.upload is not None:
            kept = False  # it cannot be sent again
        relay = pool.take() if kept and (lane.proof is None or lane.proof.ready()) else None
        if relay is not None:
            relay.send(self, reused=True)
        elif pool.open + pool.dialing >= pool.limit:
            message = f"all {pool.limit} connections to endpoint {lane.endpoint!r} are in use"
            if lane.plan is None or not again(self, Failed("full", "refused", message)):
                self.refuse(
                    Refusal(
                        status=503,
                        code="upstream_connections_max",
                        message=message,
                        retry_after_s=OVERLOADED_RETRY_S,
                    )
                )
        else:
            self.gateway.dial(self, pool)

    def unreachable(self, error: Unreachable) -> None:
        refusal = Refusal(
            status=504 if error.why == "timeout" else 502,
            code="upstream_unreachable",
            message=f"endpoint {self.lane.endpoint!r} cannot be reached: {error}",
        )
        if self.lane.plan is None or not again(self, Failed("connect", "upstream_error", refusal.message)):
            self.refuse(refusal, "upstream_error")

    def not_written(self) -> None:
        """The log cannot take this request, so nothing may be sent for it."""
        if not self.done:
            self.refuse(self.gateway.log_refusal())

    def send_again(self, why: str) -> None:
        """A kept connection turned out to be closed, without a byte of an answer: once more, on a new one."""
        self.gateway.log.append(self._posted(NOTHING_SAID, why, None, estimated=True))
        self._cost = None
        self.relay, self.sent = None, False
        self.go()

    def close_attempt(self, outcome: Outcome, facts: AnswerFacts, error: str) -> None:
        """Post an attempt that failed and is followed by another one."""
        cost, estimated = self.attempt_cost(outcome, facts)
        self.gateway.log.append(self._posted(facts, error, cost, estimated=estimated))
        self.add_cost(cost)
        self._note_part(cost)
        self.relay, self.sent = None, False
        self.upstream_status = self.first_ns = None

    def _note_part(self, cost: int | None) -> None:
        """What the attempt in hand cost, by the budget of its arm; an unknown cost makes the whole unknown anyway."""
        if self.hold is not None and self.hold.split is not None:
            if self._parts is None:
                self._parts = {}
            arm = self.lane.arm_budget
            self._parts[arm] = self._parts.get(arm, 0) + (cost or 0)

    @property
    def cost_so_far(self) -> int | None:
        """Of the attempts that were followed by another one."""
        return self._cost

    def add_cost(self, cost: int | None) -> None:
        """An attempt that is over has cost so much; `None`: nobody knows how much."""
        self._cost = None if cost is None or self._cost is None else self._cost + cost

    def take_costs(self, other: "Exchange") -> None:
        """What the attempts of `other` have cost belongs to this request, by the budgets of their arms too."""
        self.add_cost(other.cost_so_far)
        for arm, cost in (other._parts or {}).items():
            if self._parts is None:
                self._parts = {}
            self._parts[arm] = self._parts.get(arm, 0) + cost

    def hold_to(self, nanousd: int | None) -> bool:
        """Hold so much for the whole request; `None`: what it may cost is not known. False: there is not that much."""
        hold = self.hold
        if hold is not None and not self.gateway.purse.hold_to(hold, nanousd):
            return False
        if nanousd is not None and self.held is not None:
            self.held = max(self.held, nanousd)
        return True

    # --- the end ------------------------------------------------------------------------------------------------------

    def refuse(self, refusal: Refusal, outcome: Outcome = "refused") -> None:
        """End with an error of ours. Only before anything was written to the client."""
        client = self.client
        self.finish(outcome, refusal.status, error=refusal.message)
        if self.attempt:
            fallback = b"yes" if self.tries is not None and self.tries.is_fallback(self.lane) else b"no"
            told = ((b"x-weighbridge-attempt", b"%d" % self.attempt), (b"x-weighbridge-fallback", fallback))
            refusal = msgspec.structs.replace(refusal, headers=(*refusal.headers, *told))
        if client is not None:
            self.reply = client.refusal_bytes(refusal, self.id, self.door.dialect), False
            self.gateway.log.when_durable(self.deliver)

    def sweep_upload(self, upload: Upload, silent_ticks: int, limit: int) -> bool:
        """Whether the rest of its body is waited for; ended where the client is silent for too long."""
        if not upload.waits_for_client:
            return False
        if silent_ticks > limit:
            relay, self.relay = self.relay, None
            if relay is not None:
                relay.drop()
            self.refuse(UPLOAD_STALLED, "client_gone")
        return True

    def client_gone(self) -> None:
        """Cancel the provider's answer: most stop billing then. What it used is not known, and marked so.

        Where the provider bills on, its answer is read to its end instead, for as long as the limits allow.
        """
        client, self.client = self.client, None
        self.stalled = client is not None and client.paused
        if self.race is not None:
            self.race.end()
        relay = self.relay
        # An answer with an idempotency key is what its next request gets.
        drains = self.lane.drains or self.claim is not None
        if self.upload is not None and self.upload.left:
            drains = False  # it will never have been asked whole
        if drains and relay is not None and self.gateway.drains.begin(self, self._status_so_far(relay)):
            relay.read_for_nobody()
        else:
            self.cancel()

    def cancel(self) -> None:
        """The client is gone, and the provider's answer is not waited for.

        Official clients leave when they have read an error in a stream: that is the provider's end of it, whoever hangs
        up first.
        """
        relay, self.relay = self.relay, None
        facts, body, status = NOTHING_SAID, b"", int(CLIENT_CLOSED)
        if relay is not None:
            facts, body = relay.so_far()
            status = self._status_so_far(relay)
            relay.drop()
        self.finish("client_gone" if facts.error is None else "upstream_error", status, facts, body=body)

    def _status_so_far(self, relay: "Relay") -> int:
        """What the client has got of an answer: a stream's status line goes out first."""
        return self.upstream_status if relay.stream and self.upstream_status is not None else int(CLIENT_CLOSED)

    def finish(  # noqa: C901 (the one exit: whatever can have begun is ended here)
        self,
        outcome: Outcome,
        status: int,
        facts: AnswerFacts = NOTHING_SAID,
        *,
        body: bytes = b"",
        error: str | None = None,
    ) -> int | None:
        """The one exit: posted, captured, logged, settled, counted. Returns the cost, `None` where it is unknown.

        `status` is what the client got; `body` the provider's bytes, for capture.
        """
        if self.done:
            return None
        self.done = True
        gateway = self.gateway
        billed: Outcome = outcome
        whole = outcome == "ok"
        if self.client is None:
            status = gateway.drains.end(self) or status
            if outcome == "ok":
                # Read to its end for nobody. What it says of its usage is whole; where it says nothing, it was cut.
                outcome, billed = "client_gone", "client_gone" if facts.usage is None else "ok"
        log, tries = gateway.log, self.tries
        if self.opening is not None:
            self.open()
        if self.race is not None:
            self.race.end()
        if self.upload is not None:
            self.upload.end()
        if self.lane.guard is not None:
            left(self, sign(outcome, self.upstream_status))
        cost: int | None = 0
        if self.attempt != (0 if tries is None else tries.closed):  # else it ended between two attempts, or before one
            cost, estimated = self.attempt_cost(billed, facts, body)
            log.append(self._posted(facts, error, cost, estimated=estimated))
        total = None if cost is None or self._cost is None else self._cost + cost
        hold = self.hold
        parts: tuple[tuple[int | str, int], ...] = ()
        if hold is not None and hold.split is not None and total is not None:
            self._note_part(cost)
            parts = hold.parts(self._parts or {})
        duration = gateway.mono_ns() - self.started_ns
        first = None if self.first_ns is None else self.first_ns - self.started_ns
        frame = Finished(
            self.id, gateway.wall_ns(), outcome, status, self._made(), duration, first, self.response_bytes, None,
            total, error, None if total is not None or hold is None else charge(hold.nanousd, None), parts,
        )  # fmt: skip
        if self.capture and body:
            log.capture(frame, self.team, body, gateway.lanes.capture.redact)
        else:
            log.append(frame)
        if hold is not None:
            gateway.purse.settle(hold, total, parts)
        if self.claim is not None:
            self.claim.ended(outcome, whole=whole, cost=total, status=self.upstream_status)
        if self.rated is not None:
            rate, tokens = self.rated
            used = 0 if total == 0 else None
            rate.settle(tokens, used if facts.usage is None else facts.usage.total, gateway.mono_ns())
        if self.copy is not None:
            gateway.copies.offer(self.copy, outcome)
        if self.ended is not None:
            self.ended(self, total)
        gateway.active.discard(self)
        counts = gateway.meter.counts(self.lane.route, self.lane.arm, self.purpose)
        counts.add(outcome, duration, first, facts.usage, total)
        return total

    def _made(self) -> int:
        """How many attempts there were: where one was hedged, the last one need not be the one that answered."""
        tries = self.tries
        return self.attempt if tries is None else max(self.attempt, tries.made)

    def attempt_cost(self, outcome: Outcome, facts: AnswerFacts, body: bytes = b"") -> tuple[int | None, bool]:
        """What this attempt cost, and whether that is an upper bound in place of a statement."""
        if not self.sent or self.door.free:
            return 0, False
        cut = outcome in ("client_gone", "upstream_cut", "timeout")
        # Anthropic says the input at the start: an error in the middle of a stream leaves it as the only word.
        begun = facts.usage is not None and facts.partial and (cut or outcome == "upstream_error")
        if facts.usage is not None and not begun:
            price = self.lane.priced(self.wall_ns)[0]
            return None if price is None else cost_nanousd(facts.usage, price), False
        if cut or begun:
            return cut_nanousd(self, outcome, facts, body, self.held if self.tries is None else self.tries.bound), True
        status = self.upstream_status
        if status is not None and status >= 400 and self.lane.unbilled(status):
            return 0, False
        return None, False

    def _posted(self, facts: AnswerFacts, error: str | None, cost: int | None, *, estimated: bool) -> Posted:
        first = None if self.first_ns is None else self.first_ns - self.sent_ns
        usage = None if estimated else facts.usage
        duration = self.gateway.mono_ns() - self.sent_ns
        said = word(facts.error)
        if said is not None:
            error = said if error is None else f"{error}: {said}"
        # Rows are in clear and outlive an erasure: nothing that a provider may have written freely stands in them.
        return Posted(
            self.id, self.attempt, self.upstream_status, usage, plain_usage(facts.usage_raw), cost,
            self.lane.priced(self.wall_ns)[1], duration, first, error, estimated, word(facts.finish_reason),
        )  # fmt: skip

    def tag(self) -> bytes:
        """Header lines of an answer: the truth about which way it took."""
        tries = self.tries
        return self.lane.fallback_tag if tries is not None and tries.is_fallback(self.lane) else self.lane.tag

    def deliver(self) -> None:
        """The end is in the log: now the client may have the last of its answer."""
        claim, self.claim = self.claim, None
        if claim is not None and claim.keeps(self.reply[0], self.deliver):
            return  # and comes back here
        client, self.client = self.client, None
        if client is not None:
            client.answered(*self.reply)

    def replay(self, answer: bytes) -> None:
        """Another request with the same idempotency key was answered so."""
        client = self.client
        if self.done or client is None:
            return
        status, data = marked(answer, close=client.close_after)
        self.finish("replayed", status)
        self.reply = data, False
        self.gateway.log.when_durable(self.deliver)

    def refuse_unless_done(self, refusal: Refusal) -> None:
        if not self.done:
            self.gateway.meter.refused(refusal.code)
            self.refuse(refusal)


def gate(lane: Lane) -> Refusal | None:
    """The send gate as an answer to the client."""
    if lane.refusal is None:
        return None
    return Refusal(status=403, code="endpoint_not_permitted", message=f"no prompt may be sent there: {lane.refusal}")


def unusable(lane: Lane) -> Refusal:
    return Refusal(status=503, code="endpoint_not_usable", message=lane.unusable or "the endpoint has no address")
