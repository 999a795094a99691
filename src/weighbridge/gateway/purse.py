"""What a worker may spend: holds in memory against leases of the keeper. While a lease suffices, nobody waits.

- an *account* is a budget, or one user of it; a *chain* is all accounts that a request is charged to
- a *lease* is what this worker was granted of an account's window. `room` is what neither is held nor was spent
- a *hold* takes a request's upper bound from every lease of its chain; it ends once, and gives back what was not used

Where the leases do not suffice the request waits: all that wait are asked for in one call to the keeper, one call at a
time. Without a keeper, leases in hand go on; after that, `on_ledger_loss` decides.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from weighbridge.gateway.refusal import Refusal
from weighbridge.ledger.life import State, after, charge
from weighbridge.records.budget import SUBJECT_MARK, TOKEN_BUDGET, Budget, Split
from weighbridge.records.usage import usd
from weighbridge.store.control import AskFunds, CallBack, Funds, FundsRequest, GiveBack, Holding, Overdrawn, Release
from weighbridge.store.funds import Ask, Short, Want

if TYPE_CHECKING:
    from weighbridge.gateway.exchange import Exchange
    from weighbridge.gateway.lane import Lane

Send = Callable[[FundsRequest], object]

NS = 1_000_000_000
NEVER_NS = 1 << 62
UNCAPPED = 1 << 62
"""The room of an account that is only counted."""
GROUPS_MAX = 64
"""How many different kinds of waiting requests one call asks for."""
LOSS_NS = 1 * NS
"""How long requests wait for a keeper that is gone (it is back within a second) before the fail mode decides."""
WAIT_NS_MAX = 5 * NS
"""How long a request waits for an answer of a keeper that is there."""
USERS_MAX = 10_000
"""Accounts of end users that are kept; those without a hold are given back beyond it, oldest first."""
GONE_MAX = 1 << 16
"""How many leases that were given back are remembered, for answers that are still on their way."""
RETRY_S_MAX = 86_400
NO_RETRY = ((b"x-should-retry", b"false"),)
"""Official clients, which repeat a 429 by themselves, should not: the same request will not be answered soon."""


class Lease:
    """What this worker may spend of one window. `granted = room + held + spent`, but for accounts only counted."""

    __slots__ = ("account", "ends_ns", "granted", "holds", "id", "room", "spent")

    def __init__(self, account: "Account", identity: int, ends_ns: int) -> None:
        self.account, self.id, self.ends_ns = account, identity, ends_ns
        self.granted = self.spent = self.holds = 0
        self.room = 0 if account.limit is not None else UNCAPPED


class Account:
    """A budget, or one user of it. `limit` is `None` where spending is only counted."""

    __slots__ = ("budget", "lease", "limit", "subject")

    def __init__(self, budget: Budget, subject: str, limit: int | None) -> None:
        self.budget, self.subject, self.limit = budget, subject, limit
        self.lease: Lease | None = None

    @property
    def name(self) -> str:
        """Stands in the log where there is no lease to name."""
        return f"{self.budget.name}{SUBJECT_MARK}{self.subject}" if self.subject else self.budget.name

    def want(self) -> Want:
        lease, budget = self.lease, self.budget
        return Want(
            budget.name, self.subject, budget.span, budget.window, budget.time_zone, self.limit,
            0 if lease is None else lease.id, 0 if lease is None or self.limit is None else lease.room,
        )  # fmt: skip


class Chain:
    """The accounts of requests of one kind; `per_user` are budgets with an account for each end user."""

    __slots__ = ("accounts", "budgets", "closed", "hard", "per_user", "split")

    def __init__(self, budgets: tuple[Budget, ...], accounts: tuple[Account, ...], split: Split | None = None) -> None:
        self.budgets, self.accounts = budgets, accounts
        self.split = split
        """Budgets of arms that may make a part of the attempts; `None` for most chains."""
        self.per_user = tuple(budget for budget in budgets if budget.per_user_nanousd is not None)
        self.hard = any(account.limit is not None for account in accounts) or any(one.hard for one in self.per_user)
        self.closed = any(budget.hard and budget.on_ledger_loss == "closed" for budget in budgets)


class Hold:
    """What one request holds. `leases` goes into its `held` frame."""

    __slots__ = ("leases", "names", "nanousd", "split", "state")

    def __init__(
        self, leases: tuple[Lease, ...], nanousd: int | None, names: tuple[int | str, ...], split: Split | None
    ) -> None:
        self.leases, self.nanousd, self.names, self.split = leases, nanousd, names, split
        self.state: State = "held"

    def parts(self, costs: Mapping[str | None, int]) -> tuple[tuple[int | str, int], ...]:
        """What each budget of an arm is charged, by the name of its lease in the log. `costs`: by arms' budgets."""
        if self.split is None:
            return ()
        arms, budgets = dict(self.split.budgets), {lease.id: lease.account.budget.name for lease in self.leases}
        found = []
        for name in self.names:
            budget = budgets[name] if isinstance(name, int) else name.partition(SUBJECT_MARK)[0]
            if budget in arms:
                found.append((name, sum(costs.get(arm, 0) for arm in arms[budget])))
        return tuple(found)


class Waiter:
    __slots__ = ("accounts", "chain", "exchange", "nanousd", "since_ns", "user")

    def __init__(
        self, exchange: "Exchange", chain: Chain, accounts: tuple[Account, ...], user: str | None, nanousd: int | None,
        since_ns: int,
    ) -> None:  # fmt: skip
        self.exchange, self.chain, self.accounts, self.user = exchange, chain, accounts, user
        self.nanousd, self.since_ns = nanousd, since_ns


Group = tuple[tuple[Account, ...], int | None]


class Purse:
    """All methods are for the event loop's thread. `mono_ns` never goes back; `wall_ns` is for messages only."""

    def __init__(
        self, mono_ns: Callable[[], int], wall_ns: Callable[[], int], call_soon: Callable[[Callable[[], None]], object]
    ) -> None:
        self._mono_ns, self._wall_ns, self._call_soon = mono_ns, wall_ns, call_soon
        self._accounts: dict[tuple[str, str, str], Account] = {}
        self._chains: dict[tuple[tuple[Budget, ...], str, Split | None], Chain] = {}
        self._leases: dict[int, Lease] = {}
        """Every lease that holds something or may be spent of, by id."""
        self._released: dict[int, int] = {}
        """Given back, with what was spent, until the keeper has said that it knows."""
        self._waiting: list[Waiter] = []
        self._send: Send | None = None
        self._lost_ns = mono_ns()
        """Since when there is no keeper."""
        self._calls = 0
        self._asked: tuple[int, int, list[tuple[Group, list[Waiter]]]] | None = None
        """The call that is under way: its number, when it was sent, and who waits for it."""
        self._late: dict[int, tuple[int, list[Group]]] = {}
        """Calls that took too long, when they were sent and for what: an answer may still come."""
        self._gone: dict[int, None] = {}
        """Leases that were given back or are void: nothing that is granted of them holds."""
        self._ask_due = False

    # --- hot path -----------------------------------------------------------------------------------------------------

    def chain(
        self, budgets: tuple[Budget, ...], token: Budget | None = None, subject: str = "", split: Split | None = None
    ) -> Chain:
        """The chain of these budgets (in the order of their names), with a trial token's own account."""
        key = (budgets if token is None else (*budgets, token), subject, split)
        found = self._chains.get(key)
        if found is None:
            accounts = [self._account(budget, "", _cap(budget)) for budget in budgets]
            if token is not None:
                accounts.append(self._account(token, subject, token.limit_nanousd))
            found = self._chains[key] = Chain(budgets, tuple(accounts), split)
        return found

    def hold(self, chain: Chain, user: str | None, nanousd: int | None, now_ns: int) -> Hold | None:
        """Take an upper bound from every account; `None` where a lease does not suffice (see `wait`)."""
        accounts = chain.accounts if not chain.per_user else self._with_user(chain, user)
        return _take(accounts, nanousd, now_ns, chain.split)

    def settle(self, hold: Hold, cost_nanousd: int | None, parts: Sequence[tuple[int | str, int]] = ()) -> None:
        """The request is over: what it cost is spent (where nobody knows, what was held), the rest is room again.

        `parts`: leases of which something else is spent (`Hold.parts`).
        """
        hold.state = after(hold.state, "settle")
        held = hold.nanousd or 0
        whole = spent = charge(hold.nanousd, cost_nanousd)
        own = dict(parts) if parts else None
        for lease in hold.leases:
            if own is not None:
                spent = own.get(lease.id, whole)
            lease.holds -= 1
            lease.spent += spent
            lease.room += held - spent
            if lease.room < 0:
                self._overdrawn(lease)
            if lease.holds == 0 and lease.account.lease is not lease:
                self._release((lease,))

    def hold_to(self, hold: Hold, nanousd: int | None) -> bool:
        """Hold so much for all attempts of a request together. False: the leases in hand do not suffice.

        `None`, an unknown bound, is never held under a cap.
        """
        capped = any(lease.account.limit is not None for lease in hold.leases)
        if nanousd is None:
            return not capped
        more = nanousd - (hold.nanousd or 0)
        if more > 0:
            if any(lease.room < more for lease in hold.leases):
                return False
            for lease in hold.leases:
                lease.room -= more
            hold.nanousd = nanousd
        return True

    # --- accounts -----------------------------------------------------------------------------------------------------

    def _account(self, budget: Budget, subject: str, limit: int | None) -> Account:
        key = (budget.name, subject, budget.span)
        account = self._accounts.get(key)
        if account is None:
            account = self._accounts[key] = Account(budget, subject, limit)
        elif (account.limit is None) != (limit is None):
            self._drop(account)  # capped now, or not any more: what the keeper says next holds
            account.limit, account.budget = limit, budget
        else:
            account.limit, account.budget = limit, budget
        return account

    def _with_user(self, chain: Chain, user: str | None) -> tuple[Account, ...]:
        """Requests that name no user share one account: leaving the field out is no way around a cap."""
        subject = "user:" + (user or "")
        own = tuple(
            self._account(budget, subject, budget.per_user_nanousd if budget.hard else None)
            for budget in chain.per_user
        )
        if len(self._accounts) > USERS_MAX:
            self._forget_idle_users()
        return tuple(sorted((*chain.accounts, *own), key=lambda one: (one.budget.name, one.subject)))

    def _forget_idle_users(self) -> None:
        idle = [
            key for key, account in self._accounts.items()
            if account.subject.startswith("user:") and (account.lease is None or account.lease.holds == 0)
        ][: USERS_MAX // 10]  # fmt: skip
        released = []
        for key in idle:
            lease = self._accounts.pop(key).lease
            if lease is not None:
                released.append(lease)
        self._release(released)

    def _drop(self, account: Account) -> None:
        lease, account.lease = account.lease, None
        if lease is not None and lease.holds == 0:
            self._release((lease,))

    def forget_chains(self) -> None:
        """Another table is there: its budgets may be others."""
        self._chains.clear()

    # --- waiting ------------------------------------------------------------------------------------------------------

    def wait(self, exchange: "Exchange", chain: Chain, user: str | None, nanousd: int | None) -> None:
        """Ask the keeper; then `exchange.funded(hold)` or `exchange.not_funded(refusal)` is called, in a later turn."""
        accounts = chain.accounts if not chain.per_user else self._with_user(chain, user)
        self._waiting.append(Waiter(exchange, chain, accounts, user, nanousd, self._mono_ns()))
        self._ask_soon()

    def _ask_soon(self) -> None:
        if not self._ask_due:
            self._ask_due = True
            self._call_soon(self._ask)

    def _ask(self) -> None:
        self._ask_due = False
        if self._send is None:
            if self._mono_ns() - self._lost_ns >= LOSS_NS:
                self._without_keeper()
            return
        self._waiting = [waiter for waiter in self._waiting if not waiter.exchange.done]
        if self._asked is not None or not self._waiting:
            return
        groups: dict[Group, list[Waiter]] = {}
        later: list[Waiter] = []
        for waiter in self._waiting:
            group = (waiter.accounts, waiter.nanousd)
            if group in groups:
                groups[group].append(waiter)
            elif len(groups) < GROUPS_MAX:
                groups[group] = [waiter]
            else:
                later.append(waiter)
        self._waiting = later
        now_ns = self._mono_ns()
        for accounts, _ in groups:
            for account in accounts:
                if account.lease is not None and account.lease.ends_ns <= now_ns:
                    self._drop(account)  # its window is over
        self._calls += 1
        self._asked = (self._calls, now_ns, list(groups.items()))
        asks = tuple(
            Ask(tuple(account.want() for account in accounts), nanousd or 0, len(waiters))
            for (accounts, nanousd), waiters in groups.items()
        )
        self._send(AskFunds(call=self._calls, asks=asks))

    def funds(self, answer: Funds) -> None:
        """The keeper's answer to the call under way, or to one that took too long: what it grants is ours."""
        if self._asked is None or answer.call != self._asked[0]:
            late = self._late.pop(answer.call, None)
            if late is not None:
                self._take_grants(late[0], late[1], answer)
                self._ask_soon()
            return
        _, sent_ns, groups = self._asked
        self._asked = None
        if answer.problem is not None:
            for _, waiters in groups:
                for waiter in waiters:
                    self._fail(waiter)
            self._ask_soon()
            return
        self._take_grants(sent_ns, [group for group, _ in groups], answer)
        now_ns = self._mono_ns()
        again: list[Waiter] = []
        for (_, waiters), given in zip(groups, answer.given, strict=True):
            for waiter in waiters:
                if waiter.exchange.done:
                    continue
                hold = _take(waiter.accounts, waiter.nanousd, now_ns, waiter.chain.split)
                if hold is not None:
                    waiter.exchange.funded(hold)
                elif given.short is not None:
                    lighter = self._without(waiter, given.short.budget)
                    if lighter is None:
                        waiter.exchange.not_funded(self._refusal(given.short, waiter))
                    else:
                        again.append(lighter)
                else:
                    again.append(waiter)  # others were quicker, or the window ended meanwhile
        self._waiting[:0] = again
        self._ask_soon()

    def _without(self, waiter: Waiter, budget: str) -> Waiter | None:
        """The same request without the arms whose budget has no room, where it can do without them."""
        chain = waiter.chain
        left = None if chain.split is None or len(chain.accounts) != len(chain.budgets) else chain.split.without(budget)
        if chain.split is None or left is None:
            return None
        arms, split = left
        gone = {name for name, _ in chain.split.budgets} - {name for name, _ in split.budgets}
        lighter = self.chain(tuple(one for one in chain.budgets if one.name not in gone), split=split)
        waiter.exchange.leave_out(arms)
        accounts = lighter.accounts if not lighter.per_user else self._with_user(lighter, waiter.user)
        return Waiter(waiter.exchange, lighter, accounts, waiter.user, waiter.nanousd, waiter.since_ns)

    def _take_grants(self, sent_ns: int, groups: Sequence[Group], answer: Funds) -> None:
        for (accounts, _), given in zip(groups, answer.given, strict=False):
            for grant in given.grants:
                place = grant.budget, grant.subject
                account = next(one for one in accounts if (one.budget.name, one.subject) == place)
                ends_ns = NEVER_NS if grant.ends_in_ns is None else sent_ns + grant.ends_in_ns
                self._granted(account, grant.lease, grant.added_nanousd, ends_ns)

    def _granted(self, account: Account, identity: int, added: int, ends_ns: int) -> None:
        if identity in self._gone:
            return  # it was given back while this answer was on its way: that took the grant back too
        lease = account.lease
        if lease is None or lease.id != identity:
            if lease is not None:
                self._drop(account)
            lease = self._leases.get(identity)
            if lease is None:
                lease = self._leases[identity] = Lease(account, identity, ends_ns)
            account.lease = lease
        if account.limit is not None:
            lease.granted += added
            lease.room += added

    # --- keeper -------------------------------------------------------------------------------------------------------

    def connected(self, send: Send) -> None:
        self._send = send
        if self._calls:  # also where it has nothing: what it was granted meanwhile did not arrive
            stated = [(lease.id, lease.granted) for lease in self._leases.values()]
            send(Holding(leases=(*stated, *self._released.items())))
        if self._released:
            send(Release(leases=tuple(self._released.items())))
        self._ask_soon()

    def lost(self) -> None:
        """The keeper is gone: who waits for an answer waits for the next one."""
        if self._send is None:
            return
        self._send, self._lost_ns = None, self._mono_ns()
        self._late.clear()
        if self._asked is not None:
            _, _, groups = self._asked
            self._asked = None
            self._waiting[:0] = [waiter for _, waiters in groups for waiter in waiters]

    def call_back(self, asked: CallBack) -> None:
        """Give back what lies idle of these leases."""
        returned = []
        for identity in asked.leases:
            lease = self._leases.get(identity)
            if lease is not None and lease.account.limit is not None and lease.room > 0:
                returned.append((identity, lease.room))
                lease.granted -= lease.room
                lease.room = 0
        if self._send is not None:
            self._send(GiveBack(number=asked.number, leases=tuple(returned)))

    def released(self, leases: Iterable[int]) -> None:
        for identity in leases:
            self._released.pop(identity, None)

    def void(self, leases: Iterable[int]) -> None:
        """Nothing may be spent of these leases any more; what is running under them goes on."""
        for identity in leases:
            self._forget(identity)
            self._released.pop(identity, None)
            lease = self._leases.pop(identity, None)
            if lease is not None:
                lease.room = 0
                if lease.account.lease is lease:
                    lease.account.lease = None

    def _overdrawn(self, lease: Lease) -> None:
        missing, lease.room = -lease.room, 0
        lease.granted += missing
        if self._send is not None and lease.id in self._leases:
            self._send(Overdrawn(lease=lease.id, nanousd=missing))

    def _release(self, leases: Sequence[Lease]) -> None:
        gone = [lease for lease in leases if self._leases.pop(lease.id, None) is not None]
        if not gone:
            return
        for lease in gone:
            self._forget(lease.id)
            self._released[lease.id] = lease.spent
            if lease.account.lease is lease:
                lease.account.lease = None
        if self._send is not None:
            self._send(Release(leases=tuple((lease.id, lease.spent) for lease in gone)))

    def _forget(self, identity: int) -> None:
        self._gone[identity] = None
        if len(self._gone) > GONE_MAX:
            for old in list(self._gone)[: GONE_MAX // 2]:
                del self._gone[old]

    def sweep(self) -> None:
        """Called four times a second: windows that are over, and requests that wait too long."""
        now_ns = self._mono_ns()
        over = [lease for lease in self._leases.values() if lease.ends_ns <= now_ns and lease.holds == 0]
        if over:
            self._release(over)
        if self._waiting and self._send is None and now_ns - self._lost_ns >= LOSS_NS:
            self._without_keeper()
        if self._asked is not None and now_ns - self._asked[1] > WAIT_NS_MAX:
            call, sent_ns, groups = self._asked
            self._asked = None
            self._late[call] = (sent_ns, [group for group, _ in groups])
            for _, waiters in groups:
                for waiter in waiters:
                    self._fail(waiter)
            self._ask_soon()

    # --- fail mode ----------------------------------------------------------------------------------------------------

    def _without_keeper(self) -> None:
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            self._fail(waiter)

    def _fail(self, waiter: Waiter) -> None:
        """The ledger cannot be asked: as written in the configuration, for the strictest budget of the chain."""
        if waiter.exchange.done:
            return
        now_ns = self._mono_ns()
        hold = _take(waiter.accounts, waiter.nanousd, now_ns, waiter.chain.split)
        if hold is None and not waiter.chain.closed:
            hold = _take_what_is_there(waiter.accounts, waiter.nanousd, now_ns, waiter.chain.split)
        if hold is not None:
            waiter.exchange.funded(hold)
            return
        names = ", ".join(repr(budget.name) for budget in waiter.chain.budgets if budget.hard) or "of the trial token"
        waiter.exchange.not_funded(
            Refusal(
                status=503,
                code="ledger_unavailable",
                message=f"the ledger cannot be asked whether budget {names} covers this request, so it is refused "
                '(on_ledger_loss = "closed")',
                retry_after_s=1,
            )
        )

    # --- words --------------------------------------------------------------------------------------------------------

    def _refusal(self, short: Short, waiter: Waiter) -> Refusal:
        need = usd(waiter.nanousd)
        if short.budget == TOKEN_BUDGET:
            return Refusal(
                status=403,
                code="trial_budget_exhausted",
                message=f"the budget of this trial does not cover this request: it may cost up to {need}, and "
                f"{usd(short.left_nanousd)} of {usd(short.limit_nanousd)} are left",
                headers=NO_RETRY,
            )
        user = short.subject.removeprefix("user:")
        of = f" for user {user!r}" if user else " for requests without a user" if short.subject else ""
        resets, retry_s = "it does not start anew", None
        if short.ends_ns is not None:
            left_s = max(1, -(-(short.ends_ns - self._wall_ns()) // NS))
            resets, retry_s = f"it starts anew at {_instant(short.ends_ns, short.span)}", min(left_s, RETRY_S_MAX)
        return Refusal(
            status=429,
            code="budget_exceeded",
            message=f"budget {short.budget!r}{of} does not cover this request: it may cost up to {need}, and "
            f"{usd(short.left_nanousd)} of {usd(short.limit_nanousd)} are left; {resets}",
            retry_after_s=retry_s,
            headers=NO_RETRY,
        )


def cost_unknown(chain: Chain, lane: "Lane") -> Refusal:
    """Under a hard cap, what may cost anything is refused."""
    if lane.price is None:
        why = f"no price is known for arm {lane.arm!r}; state `price` for the arm, or make the budget soft"
    else:
        why = (
            "it has images, audio or files, whose tokens nothing bounds before they are counted, or is longer than the "
            f"price of arm {lane.arm!r} holds for"
        )
    names = ", ".join(repr(budget.name) for budget in chain.budgets if budget.hard)
    if not names:
        return Refusal(
            status=403,
            code="trial_cost_unknown",
            message=f"the trial has a budget, and what this request may cost is unknown: {why}",
            headers=NO_RETRY,
        )
    return Refusal(
        status=403,
        code="budget_cost_unknown",
        message=f"budget {names} is a hard cap, and what this request may cost is unknown: {why}",
        headers=NO_RETRY,
    )


def _cap(budget: Budget) -> int | None:
    return budget.limit_nanousd if budget.hard else None


def _take(accounts: tuple[Account, ...], nanousd: int | None, now_ns: int, split: Split | None) -> Hold | None:
    need = nanousd or 0
    leases: list[Lease] = []
    for account in accounts:
        lease = account.lease
        if lease is None or lease.room < need or lease.ends_ns <= now_ns:
            return None
        leases.append(lease)
    names: list[int | str] = []
    for lease in leases:
        lease.room -= need
        lease.holds += 1
        names.append(lease.id)
    return Hold(tuple(leases), nanousd, tuple(names), split)


def _take_what_is_there(accounts: tuple[Account, ...], nanousd: int | None, now_ns: int, split: Split | None) -> Hold:
    """Let a request through without the ledger: what has no lease is named in the log, and booked from there."""
    leases: list[Lease] = []
    names: list[int | str] = []
    need = nanousd or 0
    for account in accounts:
        lease = account.lease
        if lease is None or lease.room < need or lease.ends_ns <= now_ns:
            names.append(account.name)
            continue
        lease.room -= need
        lease.holds += 1
        leases.append(lease)
        names.append(lease.id)
    return Hold(tuple(leases), nanousd, tuple(names), split)


def _instant(at_ns: int, span: str) -> str:
    from weighbridge.ledger.windows import local

    return local(at_ns, span).isoformat(timespec="seconds")
