"""What the connections of one worker share: table, log, pools, counts, and coarse timers."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from weighbridge.exchanges.writer import LogState, LogWriter
from weighbridge.gateway.attempts import Guard
from weighbridge.gateway.called import Target
from weighbridge.gateway.copies import Copies
from weighbridge.gateway.drains import Drains
from weighbridge.gateway.exchange import Exchange
from weighbridge.gateway.feedback import FeedbackDesk
from weighbridge.gateway.hedge import Hedges, hedged
from weighbridge.gateway.idempotency import ClaimDesk, Held
from weighbridge.gateway.lanes import Lanes
from weighbridge.gateway.meter import Meter, Sample
from weighbridge.gateway.outliers import Outliers
from weighbridge.gateway.plan import RetryBudget
from weighbridge.gateway.purse import Purse
from weighbridge.gateway.rates import RateBook, SharedMoments
from weighbridge.gateway.refusal import Refusal
from weighbridge.gateway.relay import Relay
from weighbridge.gateway.slots import Slots, share_of
from weighbridge.gateway.trials import TrialDesk
from weighbridge.gateway.way import Way
from weighbridge.records.table import Limits
from weighbridge.store.layout import Layout
from weighbridge.upstream import Dialer, Pool, Unreachable

if TYPE_CHECKING:
    from weighbridge.gateway.client import Client

log = logging.getLogger("worker")

TICK_S = 0.25
"""All timers are looked at this often; none is set per request."""
TICKS_A_SECOND = 4
LINGER_TICKS = 20
"""How long a connection may take to end after its last message."""
FULL_RETRY_S = 5
STUCK_TICKS = 40
STUCK = Refusal(status=500, code="gateway_error", message="the gateway lost track of this request; its log has more")
_STATES: tuple[LogState, ...] = ("ok", "no_bodies", "full")


class Gateway:
    """One event loop's gateway. `log` is set before the first connection is accepted."""

    log: LogWriter

    def __init__(
        self,
        lanes: Lanes,
        incarnation: str,
        *,
        loop: asyncio.AbstractEventLoop,
        wall_ns: Callable[[], int],
        mono_ns: Callable[[], int],
        workers: int = 1,
        index: int = 0,
        rates_file: Path | None = None,
        layout: Layout | None = None,
    ) -> None:
        self.incarnation, self.loop = incarnation, loop
        self.wall_ns, self.mono_ns = wall_ns, mono_ns
        self.meter, self.trials = Meter(), TrialDesk()
        self.drains, self.hedges = Drains(), Hedges()
        self.retries, self.outliers = RetryBudget(), Outliers()
        self.purse = Purse(mono_ns, wall_ns, loop.call_soon)
        self.tick = 0
        self.sequence = 0
        self._workers, self._index, self._rates_file = workers, index, rates_file
        self._rates: RateBook | None = None
        self._desk = ClaimDesk(layout)
        self.feedback = FeedbackDesk(self, self._desk, workers, index)
        self._slots: dict[str, Slots[Exchange]] = {}
        self.draining = False
        self.drained = asyncio.Event()
        self.active: set[Exchange] = set()
        self.clients: set[Client] = set()
        self.copies = Copies(self)
        self.lingering: dict[Relay, int] = {}
        self.bodies_too_large = 0
        self._pools: dict[Target, tuple[Dialer, Pool[Relay]]] = {}
        self._dialing: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self.lanes = lanes
        self._connect_to(lanes)
        self._guard(lanes)
        self._rate(lanes)

    def next_id(self) -> str:
        self.sequence += 1
        return f"{self.incarnation}-{self.sequence:x}"

    # --- table --------------------------------------------------------------------------------------------------------

    def use(self, lanes: Lanes) -> bool:
        """Go on with a newer table. An older or equal one is not taken."""
        if lanes.number <= self.lanes.number:
            return False
        self._connect_to(lanes)
        self._guard(lanes)
        self._rate(lanes)
        self.lanes = lanes
        self.purse.forget_chains()
        wanted = {lane.target for lane in lanes.lanes()}
        for target in [target for target in self._pools if target not in wanted]:
            self._pools.pop(target)[1].close()
        for way in lanes.ways.values():
            if way.cuts:
                self._cut(way)
        return True

    def _cut(self, way: Way) -> None:
        """End the streams of arms that this route does not send users to any more."""
        arms = {lane.arm for lane in way.lanes}
        for exchange in tuple(self.active):
            lane, relay, tries = exchange.lane, exchange.relay, exchange.tries
            stands_in = tries is not None and tries.is_fallback(lane)
            if lane.route != way.name or exchange.purpose != "user" or lane.arm in arms or stands_in:
                continue
            if relay is not None and relay.stream and not exchange.done:
                relay.fail("upstream_cut", f"arm {lane.arm!r} was taken back", code="ramp_rolled_back")

    # --- log ----------------------------------------------------------------------------------------------------------

    def log_refusal(self) -> Refusal:
        return Refusal(
            status=503,
            code="exchange_log_full",
            message=f"no request is taken while it cannot be recorded: {self.log.reason or 'the disk is full'}",
            retry_after_s=FULL_RETRY_S,
        )

    def log_state(self, state: LogState) -> None:
        """The disk is full: what runs is ended and recorded, as long as there is room for it."""
        if state == "full":
            for exchange in tuple(self.active):
                if exchange.relay is not None and not exchange.done:
                    exchange.relay.fail(
                        "upstream_cut", "the gateway ended it because its disk is full", code="exchange_log_full"
                    )

    def not_ready(self) -> str | None:
        """Why no request should be sent here, `None` where all is well."""
        if self.draining:
            return "the gateway is shutting down"
        return self.log.reason or "the disk is full" if self.log.state == "full" else None

    # --- upstream -----------------------------------------------------------------------------------------------------

    def _connect_to(self, lanes: Lanes) -> None:
        """Have a pool for every address. Where there cannot be one, the lane says why."""
        for lane in lanes.lanes():
            target = lane.target
            if target is None or target in self._pools:
                continue
            try:
                dialer = Dialer(
                    target.base,
                    address_is_own=target.address_is_own,
                    tls=target.tls,
                    proxy=target.proxy,
                    connect_s_max=target.connect_s_max,
                    receive_bytes_max=lanes.limits.stream_buffer_bytes_max // 4,
                )
            except ValueError as error:
                lane.close(str(error))
            else:
                self._pools[target] = (dialer, Pool(target.connections_max))

    # --- idempotency keys ---------------------------------------------------------------------------------------------

    def claim(self, exchange: Exchange, key: str, token: str, body: bytes) -> Held:
        """Before it sends anything, the exchange asks the keeper whether it is the one to carry this request out."""
        limits = self.lanes.limits
        self._desk.asking_max = limits.idempotent_waits_max
        return Held(self._desk, exchange, key, token, body, limits.idempotent_answer_bytes_max)

    def _rate(self, lanes: Lanes) -> None:
        """The limits of keys that have any. The first such table maps the file that the workers share."""
        keys = [key for key in lanes.keys.values() if key.requests_per_minute or key.tokens_per_minute]
        if keys and self._rates is None:
            try:
                moments = SharedMoments(self._rates_file)
            except OSError as error:
                log.error("%s cannot be used (%s): this worker counts rate limits by itself", self._rates_file, error)
                moments = SharedMoments(None)
            self._rates = RateBook(moments)
        for key in keys:
            if self._rates is not None:
                key.rate = self._rates.rate(key.name, key.requests_per_minute, key.tokens_per_minute)

    def _guard(self, lanes: Lanes) -> None:
        """What stands before the sends of this table's lanes. What is known of an endpoint goes on."""
        chains = [{row.endpoint for row in (lane, *lane.others) if lane.refusal is None} for lane in lanes.lanes()]
        groups = [frozenset(chain) for chain in chains if len(chain) > 1]
        self.outliers.watch(groups)
        self.drains.at_once_max = lanes.limits.cancel_drains_max
        self.drains.ticks_max = ticks(lanes.limits.cancel_drain_s_max)
        watched = frozenset[str]().union(*groups)
        slots: dict[str, Slots[Exchange]] = {}
        for endpoint in lanes.limited:
            limit = share_of(endpoint.concurrency_max or 1, self._workers, self._index)
            wait = ticks(endpoint.queue_s_max)
            known = self._slots.get(endpoint.name)
            if known is None:
                known = Slots(limit, endpoint.queue_max, wait)
            else:
                known.resize(limit, endpoint.queue_max, wait)
            slots[endpoint.name] = known
        self._slots = slots
        for lane in lanes.lanes():
            limited, observed = slots.get(lane.endpoint), lane.endpoint in watched
            if limited is not None or observed or lane.hedge_s is not None or (lane.target is None and lane.others):
                lane.guard = Guard(self.outliers if observed else None, limited, lane.hedge_s)

    def hedge(self, exchange: Exchange, after_s: float) -> None:
        """Its route wants a second attempt beside the first, should that be slow to answer."""
        hedged(self, exchange, after_s)

    def pool(self, target: Target) -> Pool[Relay]:
        found = self._pools.get(target)
        if found is None:  # a table that is not in use any more: its last requests connect anew, nothing is kept
            return Pool(target.connections_max)
        return found[1]

    def dial(self, exchange: Exchange, pool: Pool[Relay]) -> None:
        pool.dialing += 1  # now, so that the next exchange of this turn sees it
        task = self.loop.create_task(self._dial(exchange, pool))
        self._dialing.add(task)
        task.add_done_callback(self._dialing.discard)

    async def _dial(self, exchange: Exchange, pool: Pool[Relay]) -> None:
        target = exchange.lane.target
        known = self._pools.get(target) if target is not None else None
        try:
            if known is None:
                raise Unreachable("connect", "the route table was changed and does not know the endpoint any more")
            if exchange.lane.proof is not None:
                await exchange.lane.proof.prepare()
            relay = await known[0].connect(lambda: Relay(self, pool))
        except Unreachable as error:
            if not (exchange.done or exchange.sent):
                exchange.unreachable(error)
            return
        finally:
            pool.dialing -= 1
        if exchange.done or exchange.sent:  # its client left, or another attempt took over
            pool.put(relay, self.tick)
        else:
            relay.send(exchange, reused=False)

    # --- timers -------------------------------------------------------------------------------------------------------

    def start_timers(self) -> None:
        self._timer = self.loop.call_later(TICK_S, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = self.loop.call_later(TICK_S, self._on_timer)
        self.sweep()

    def sweep(self) -> None:
        """One pass over everything that waits."""
        if self.draining:
            self.check_drained()  # the last answer that was read for nobody may have ended
        self.tick += 1
        ends_ns = self.lanes.next_expiry_ns
        if ends_ns is not None and self.wall_ns() >= ends_ns:
            self.lanes = self.lanes.expired(self.wall_ns())
        tick, limits = self.tick, self.lanes.limits
        stall = ticks(limits.client_stall_s_max)
        self._sweep_exchanges(tick, limits, stall)
        self.drains.sweep(tick)
        for slots in tuple(self._slots.values()):
            slots.expire(tick)
        self.purse.sweep()
        receive, keepalive = ticks(limits.request_receive_s_max), ticks(limits.keepalive_idle_s_max)
        for client in tuple(self.clients):
            client.sweep(tick, receive, keepalive, stall)
        if tick % TICKS_A_SECOND == 0:
            self.retries.second()
            for _, pool in self._pools.values():
                pool.expire(tick - keepalive)
            for relay in [relay for relay, since in self.lingering.items() if tick - since > LINGER_TICKS]:
                self.lingering.pop(relay)
                relay.abort()

    def _sweep_exchanges(self, tick: int, limits: Limits, stall: int) -> None:
        first_byte, idle = ticks(limits.first_byte_s_max), ticks(limits.stream_idle_s_max)
        silent = f"no byte came from it within {limits.first_byte_s_max:g} s"
        self.hedges.sweep(tick, first_byte, silent)
        for exchange in tuple(self.active):
            relay, client = exchange.relay, exchange.client
            if exchange.done:
                continue
            if relay is None:
                if tick - exchange.seen_tick > ticks(limits.connect_s_max) + STUCK_TICKS:
                    exchange.refuse(STUCK)  # what should have ended it did not come
                continue
            if exchange.upload is not None and exchange.sweep_upload(exchange.upload, tick - exchange.seen_tick, stall):
                continue
            if client is not None and client.paused:
                if tick - client.paused_tick > stall:
                    client.stalled()
            elif tick - exchange.seen_tick > (idle if relay.stream else first_byte):
                waited = limits.stream_idle_s_max if relay.stream else limits.first_byte_s_max
                relay.fail("timeout", f"no byte came from it within {waited:g} s", code="upstream_timeout")

    # --- end ----------------------------------------------------------------------------------------------------------

    def drain(self) -> None:
        """Take nothing new. `drained` is set when the last client has its answer."""
        self.draining = True
        for client in tuple(self.clients):
            client.drain()
        for _, pool in self._pools.values():
            pool.close()
        self.check_drained()

    def check_drained(self) -> None:
        if self.draining and not self.clients and not self.drains:
            self.drained.set()

    def cut_all(self) -> None:
        """The time to drain is over."""
        for exchange in tuple(self.active):
            if exchange.relay is not None:
                exchange.relay.fail("upstream_cut", "the gateway is shutting down", code="gateway_shutdown")
            else:
                exchange.refuse(
                    Refusal(
                        status=503, code="gateway_shutdown", message="the gateway is shutting down", retry_after_s=1
                    )
                )

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        for task in tuple(self._dialing):
            task.cancel()
        for client in tuple(self.clients):
            client.transport.abort()
        for _, pool in self._pools.values():
            pool.close()
        if self._rates is not None:
            self._rates.moments.close()
        self._desk.close()

    # --- metrics ------------------------------------------------------------------------------------------------------

    def samples(self) -> list[Sample]:
        rows = self.meter.samples()
        log = self.log
        streams = sum(1 for exchange in self.active if exchange.relay is not None and exchange.relay.stream)
        rows += [
            ("weighbridge_open_requests", {}, len(self.active)),
            ("weighbridge_open_streams", {}, streams),
            ("weighbridge_client_connections", {}, len(self.clients)),
            ("weighbridge_loop_tasks", {}, len(asyncio.all_tasks(self.loop))),
            *(("weighbridge_copies_skipped_total", {"why": why}, count) for why, count in self.copies.skipped.items()),
            ("weighbridge_bodies_dropped_total", {"why": "log"}, log.bodies_dropped),
            ("weighbridge_bodies_dropped_total", {"why": "too_large"}, self.bodies_too_large),
            ("weighbridge_bodies_dropped_total", {"why": "too_much_to_redact"}, log.bodies_too_much_to_redact),
            ("weighbridge_log_written_bytes_total", {}, log.bytes_written),
            *_log_state(log.state),
        ]
        for target, (_, pool) in self._pools.items():
            labels = {"address": target.base.authority}
            rows.append(("weighbridge_upstream_connections_opened_total", labels, pool.opened))
            rows.append(("weighbridge_upstream_connections", labels, pool.open))
        rows += self.drains.samples()
        rows += self.hedges.samples()
        rows += [
            ("weighbridge_idempotent_total", {"answer": answer}, count) for answer, count in self._desk.outcomes.items()
        ]
        rows += [
            ("weighbridge_feedback_total", {"answer": answer}, count)
            for answer, count in self.feedback.outcomes.items()
        ]
        if self._rates is not None:
            rows.append(("weighbridge_rate_collisions_total", {}, self._rates.moments.collisions))
        rows.append(("weighbridge_retries_refused_total", {}, self.retries.refused))
        for name, endpoint in self.outliers.endpoints.items():
            labels = {"endpoint": name}
            rows.append(("weighbridge_endpoint_out", labels, int(endpoint.state != "in")))
            rows.append(("weighbridge_ejections_total", labels, self.outliers.ejections.get(name, 0)))
        for name, slots in self._slots.items():
            labels = {"endpoint": name}
            rows.append(("weighbridge_endpoint_open", labels, slots.taken))
            rows.append(("weighbridge_endpoint_waiting", labels, len(slots.waiting)))
            rows.append(("weighbridge_queue_waits_total", labels, slots.waited))
            rows.append(("weighbridge_queue_refused_total", labels, slots.refused))
        return rows


def _log_state(now: LogState) -> list[Sample]:
    return [("weighbridge_log_state", {"state": state}, int(state == now)) for state in _STATES]


def ticks(seconds: float) -> int:
    return max(1, round(seconds / TICK_S))
