"""Owns: one query's way from bytes to bytes: cache, budget, decision, new names, records.

UDP and TCP bring the bytes here and carry the answer back. Knows nothing of sockets.
"""

import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Final

from netmgr.model import Destination, DnsName, Record
from netmgr.policy.decision import Decision
from netmgr.process.ipc import PeerClosed, PeerRefused
from netmgr.process.tasks import TaskSet
from netmgr.process.view import SandboxView
from netmgr.reasons import Kind, Reason, Verdict
from netmgr_dns.answers import decide, fail
from netmgr_dns.budget import Budget
from netmgr_dns.ledger import Ledger, Tally
from netmgr_dns.messages import ANSWER_TTL_S, Answer, MalformedMessage, NeedName, QType, Query
from netmgr_dns.wire import parse_query, render_answer, render_error, udp_limit

QUERIES_PER_S: Final = 1_000.0  # per sandbox; a package manager at work asks some dozen
QUERIES_BURST: Final = 2_000.0
NEW_NAMES_PER_S: Final = 20.0  # per sandbox; each costs the daemon a change that all acknowledge
NEW_NAMES_BURST: Final = 200.0
MAX_NEW_NAMES: Final = 16  # per sandbox, in flight: one sandbox must not fill the daemon's queue
MAX_NEW_NAMES_IN_ALL: Final = 128
MAX_WAITERS: Final = 16  # queries for the same new name; a client asks for it once or twice
NAME_DEADLINE_S: Final = 2.0  # a resolver library waits five before it asks again
MAX_CACHED: Final = 128  # answers per sandbox, of some 100 bytes each

_ADDRESS_TYPES: Final = frozenset({QType.A, QType.AAAA, QType.HTTPS, QType.SVCB})
_TC_BYTE: Final = 2
_TC_BIT: Final = 0x02

AskName = Callable[[str, str], Awaitable[object]]
Reply = Callable[[bytes], None]


@dataclass(frozen=True, slots=True)
class Limits:
    """What the operator may set.

    Attributes:
        queries_per_s: one sandbox's share, on average.
        queries_burst: how many of them at once.
        answer_ttl_s: for how long a sandbox may keep an answer.
    """

    queries_per_s: float = QUERIES_PER_S
    queries_burst: float = QUERIES_BURST
    answer_ttl_s: int = ANSWER_TTL_S


@dataclass(slots=True)
class Statistics:
    """Counters of the whole worker."""

    queries: int = 0  # those that missed the cache
    malformed: int = 0
    over_limit: int = 0
    strangers: int = 0
    unsent: int = 0


class CachedAnswer:
    """An answer without its id, and what to count when it is given again."""

    __slots__ = ("tail", "tally")

    def __init__(self, tail: bytes, tally: Tally | None) -> None:
        self.tail = tail
        self.tally = tally


@dataclass(frozen=True, slots=True)
class Waiter:
    """A query that waits for its name to get an address."""

    query: Query
    limit: int
    reply: Reply


class Client:
    """One sandbox, seen from the resolver."""

    __slots__ = (
        "cache",
        "connections",
        "ledger",
        "names",
        "over_limit",
        "pending",
        "queries",
        "sandbox",
    )

    def __init__(self, sandbox: SandboxView, limits: Limits) -> None:
        self.sandbox = sandbox
        self.cache: dict[bytes, CachedAnswer] = {}
        self.ledger = Ledger()
        self.queries = Budget(limits.queries_per_s, limits.queries_burst)
        self.names = Budget(NEW_NAMES_PER_S, NEW_NAMES_BURST)
        self.pending: dict[DnsName, list[Waiter]] = {}
        self.connections = 0
        self.over_limit: Tally | None = None  # a flood must cost less than what it floods

    def remember(self, query: Query, data: bytes, wire: bytes, tally: Tally | None) -> None:
        """Keep an answer for the same bytes. Options (cookies, padding) make no two queries
        alike, and a truncated answer is right for one transport only."""
        if query.edns is not None and query.edns.has_options:
            return
        if wire[_TC_BYTE] & _TC_BIT:
            return
        if len(self.cache) >= MAX_CACHED:
            del self.cache[next(iter(self.cache))]
        self.cache[data[2:]] = CachedAnswer(wire[2:], tally)


class Desk:
    """Answers queries.

    Args:
        ask_name: asks the daemon to give (sandbox address, name) a private address; when it
            returns, the view knows it.
        tell: takes each record for the daemon.
        tasks: holds the questions in flight.
    """

    def __init__(
        self, ask_name: AskName, tell: Callable[[Record], None], tasks: TaskSet, limits: Limits
    ) -> None:
        self.clients: dict[str, Client] = {}
        self.statistics = Statistics()
        self._ask_name = ask_name
        self._tell = tell
        self._tasks = tasks
        self._limits = limits
        self._names_in_flight = 0
        self._strangers = Ledger()

    # -- what the daemon changes -------------------------------------------------------------

    def changed(self, address: str, sandbox: SandboxView | None) -> None:
        """The sandbox at `address` is another one than before, or gone: nothing old is said."""
        client = self.clients.get(address)
        if client is not None:
            self._tell_all(client.ledger.restart(time.time()))
            client.cache.clear()
            client.over_limit = None
        if sandbox is None:
            self.clients.pop(address, None)
        elif client is None or client.sandbox.name != sandbox.name:
            self.clients[address] = Client(sandbox, self._limits)
        else:
            client.sandbox = sandbox

    def tell_repeats(self) -> None:
        """A window is over: tell how often everything was repeated in it."""
        now = time.time()
        for client in self.clients.values():
            if client.over_limit is not None and not client.over_limit.count:
                client.over_limit = None  # the flood is over; the next one is news again
            self._tell_all(client.ledger.drain(now))
        self._tell_all(self._strangers.drain(now))

    # -- what sandboxes ask ------------------------------------------------------------------

    def answer(self, client: Client, data: bytes, limit: int | None, reply: Reply) -> None:
        """Answer one message through `reply`: now, a moment later, or not at all.

        Args:
            limit: how long the answer may be, in bytes; None: what the query says.
        """
        self.statistics.queries += 1
        try:
            query = parse_query(data)
        except MalformedMessage as fault:
            self._answer_malformed(client, data, fault, reply)
            return
        if query is None:
            return
        if limit is None:
            limit = udp_limit(query)
        outcome = decide(query, client.sandbox)
        if isinstance(outcome, NeedName):
            self._wait_for_name(client, outcome, Waiter(query, limit, reply))
            return
        wire = self._render(query, outcome, limit)
        client.remember(query, data, wire, self._note_answer(client, query, outcome))
        reply(wire)

    def over_limit(self, client: Client, now: float) -> None:
        """The sandbox asks faster than it may: no answer, but it is counted."""
        self.statistics.over_limit += 1
        if client.over_limit is not None:
            client.ledger.hit(client.over_limit)
            return
        decision = Decision(
            Verdict.DENIED,
            Reason.LIMIT_EXCEEDED,
            message=f"more than {self._limits.queries_per_s:.0f} DNS queries per second",
        )
        client.over_limit = self._note(client, ("limit",), decision, Destination(), now)

    def stranger(self, address: str) -> None:
        """A datagram from an address that no sandbox has: silence."""
        self.statistics.strangers += 1
        record = Record(
            time=time.time(),
            sandbox=None,
            kind=Kind.DNS,
            verdict=Verdict.DENIED,
            reason=Reason.UNKNOWN_CALLER,
            message=f"no sandbox has the address {address}",
        )
        _, first = self._strangers.note((address,), record, time.monotonic())
        if first is not None:
            self._tell(first)

    def _answer_malformed(
        self, client: Client, data: bytes, fault: MalformedMessage, reply: Reply
    ) -> None:
        self.statistics.malformed += 1
        decision = Decision(Verdict.DENIED, Reason.MALFORMED_REQUEST, message=f"DNS: {fault}")
        self._note(client, ("malformed",), decision, Destination())
        if fault.rcode is not None:
            reply(render_error(data, fault.rcode))

    # -- names that need an address first ----------------------------------------------------

    def _wait_for_name(self, client: Client, need: NeedName, waiter: Waiter) -> None:
        waiters = client.pending.get(need.name)
        if waiters is not None:
            if len(waiters) < MAX_WAITERS:
                waiters.append(waiter)
            return
        if (
            len(client.pending) >= MAX_NEW_NAMES
            or self._names_in_flight >= MAX_NEW_NAMES_IN_ALL
            or not client.names.take(time.monotonic())
        ):
            message = "too many new names at once; wait a moment and ask again"
            answer = fail(need.decision.rule, Reason.LIMIT_EXCEEDED, message)
            self._finish(client, waiter, answer)
            return
        client.pending[need.name] = [waiter]
        self._names_in_flight += 1
        self._tasks.start(self._get_name(client, need), name=f"name {need.name}")

    async def _get_name(self, client: Client, need: NeedName) -> None:
        failure = fail(need.decision.rule, Reason.NAME_NOT_RESOLVED, "no address was given in time")
        try:
            await self._ask_name(client.sandbox.address, need.name)
        except PeerRefused as refusal:
            reason = _reason(refusal.code)
            failure = fail(need.decision.rule, reason, refusal.message)
        except (PeerClosed, TimeoutError):
            pass  # `failure` says it already
        finally:
            self._names_in_flight -= 1
            waiters = client.pending.pop(need.name)
        if self.clients.get(client.sandbox.address) is not client:
            return  # the sandbox is gone
        for waiter in waiters:
            # Decided again: the policy may have changed meanwhile, and the address is in the view.
            outcome = decide(waiter.query, client.sandbox)
            self._finish(client, waiter, failure if isinstance(outcome, NeedName) else outcome)

    def _finish(self, client: Client, waiter: Waiter, answer: Answer) -> None:
        self._note_answer(client, waiter.query, answer)
        waiter.reply(self._render(waiter.query, answer, waiter.limit))

    def _render(self, query: Query, answer: Answer, limit: int) -> bytes:
        return render_answer(query, answer, limit, self._limits.answer_ttl_s)

    # -- records -----------------------------------------------------------------------------

    def _note_answer(self, client: Client, query: Query, answer: Answer) -> Tally | None:
        if answer.decision is None:
            return None
        question = query.question
        shown = question.shown
        kind = "address" if question.qtype in _ADDRESS_TYPES else str(question.qtype)
        destination = Destination(name=shown, ip=client.sandbox.names.get(shown))
        return self._note(client, (shown, kind), answer.decision, destination)

    def _note(
        self,
        client: Client,
        what: tuple[str, ...],
        decision: Decision,
        destination: Destination,
        now: float | None = None,
    ) -> Tally:
        sandbox = client.sandbox
        record = Record(
            time=time.time(),
            sandbox=sandbox.name,
            tenant=sandbox.tenant,
            kind=Kind.DNS,
            verdict=decision.verdict,
            reason=decision.reason,
            rule=decision.rule,
            policy_revision=sandbox.revision,
            destination=destination,
            message=decision.message,
            remedy=decision.remedy(sandbox.scope),
        )
        key = (*what, decision.verdict.value, decision.reason.value)
        moment = time.monotonic() if now is None else now
        tally, first = client.ledger.note(key, record, moment)
        if first is not None:
            self._tell(first)
        return tally

    def _tell_all(self, records: Iterable[Record]) -> None:
        for record in records:
            self._tell(record)


def _reason(code: str) -> Reason:
    """The daemon's refusal as a reason; its own faults count as "not resolved"."""
    try:
        return Reason(code)
    except ValueError:
        return Reason.NAME_NOT_RESOLVED
