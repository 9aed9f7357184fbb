"""Owns: the records of one connection: who, where to, by which rule, how much, how long.

Bytes are counted as the sandbox sees them: `bytes_out` left it, `bytes_in` reached it. Knows
nothing of protocols; does no I/O but asking which process it was.
"""

import asyncio
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from netmgr.model import Destination, Record
from netmgr.policy.decision import Decision, Target
from netmgr.policy.owner import UNKNOWN, Owner, parse_owner
from netmgr.process.ipc import Peer, PeerClosed, PeerRefused
from netmgr.process.view import SandboxView
from netmgr.reasons import Kind, Reason, Verdict
from netmgr_proxy.forms import CALL_HOLES, Form, Like, form_of
from netmgr_proxy.peer import Caller
from netmgr_proxy.recorder import Key, Measures, Recorder, measures_of
from netmgr_proxy.wire.face import Refusal

# A denial has to be seen within 200 ms (contract); a record without its process beats a late one.
OWNER_DEADLINE_S: Final = 0.15

# Where it decides, a connection waits: the daemon may have to read a large program once.
DECISION_DEADLINE_S: Final = 3.0


class Found(NamedTuple):
    """Whose a connection is.

    Attributes:
        process: for records; None where it could not be told in time.
        owner: for decisions; UNKNOWN where it was not asked for.
    """

    process: dict[str, Any] | None = None
    owner: Owner = UNKNOWN


async def find_owner(daemon: Peer, caller: Caller, *, decide: bool) -> Found:
    """Which process opened the connection.

    Args:
        decide: the decision depends on it; else it is for the record only.
    """
    body = {
        "address": caller.address,
        "sport": caller.sport,
        "ip": caller.ip,
        "dport": caller.port,
        "decide": decide,
    }
    deadline_s = DECISION_DEADLINE_S if decide else OWNER_DEADLINE_S
    try:
        answer = await daemon.ask("owner", body, deadline_s=deadline_s)
    except (PeerRefused, PeerClosed, TimeoutError):
        return Found()
    return Found(answer.body.get("process"), parse_owner(answer.body.get("owner")))


class Account:
    """What all records of one connection have in common.

    Args:
        found: the question whose it is, under way.

    Attributes:
        owner: the programs that hold it; UNKNOWN until `identified`.
    """

    __slots__ = (
        "_destination",
        "_found",
        "_last",
        "_recorder",
        "_sandbox",
        "caller",
        "owner",
        "target",
    )

    def __init__(
        self,
        recorder: Recorder,
        caller: Caller,
        sandbox: SandboxView | None,
        target: Target,
        found: asyncio.Task[Found],
    ) -> None:
        self._recorder = recorder
        self._sandbox = sandbox
        self._found = found
        self._last: _Last | None = None
        self.owner = UNKNOWN
        self._destination = Destination(target.name, caller.ip, caller.port, "tcp")
        self.caller = caller
        self.target = target

    def refused(
        self,
        kind: Kind,
        refusal: Refusal,
        measures: Measures | None = None,
        *,
        single: bool = False,
        **parts: Any,
    ) -> None:
        """Something was denied or failed.

        Args:
            single: never counted as a repeat of another (a model call that was sent).
            parts: further parts of the record (`http`, `inference`).
        """
        what = _What(refusal.verdict, refusal.reason, refusal.rule, refusal.message, refusal.remedy)
        self._write(kind, what, measures, parts, single=single)

    def permitted(
        self,
        kind: Kind,
        decision: Decision,
        measures: Measures | None = None,
        *,
        single: bool = False,
        **parts: Any,
    ) -> None:
        """Something was let through.

        Args:
            single: never counted as a repeat of another (the end of a flow, a model call).
        """
        message, remedy = "", None
        if decision.verdict is Verdict.AUDITED:
            message, remedy = decision.message, decision.remedy(self.scope)
        what = _What(decision.verdict, decision.reason, decision.rule, message, remedy)
        self._write(kind, what, measures, parts, single=single)

    def answered(
        self, call: Like | None, measures: Measures, parts: Callable[[], dict[str, Any]]
    ) -> None:
        """A model call was answered. Where it is like the connection's last one, its record is the
        text of that one's with other numbers.

        Args:
            call: what the record depends on; None where that is not known.
            parts: makes the record's parts.
        """
        last, self._last = self._last, None
        if call is None or last is None or not self._is_like(call, last):
            if call is not None:
                self._last = _Last(self._sandbox, call)
            self.permitted(Kind.INFERENCE, ALLOWED, measures, single=True, **parts())
            return
        if last.form is None:
            record = self._record(Kind.INFERENCE, _WELL, measures, parts())
            self._add_process(record)
            last.form = form_of(record.to_wire(), CALL_HOLES)
        self._last = last
        self._recorder.tell_text(last.form.fill((self._recorder.now(), *call.numbers)))

    def _is_like(self, call: Like, last: "_Last") -> bool:
        same = last.sandbox is self._sandbox and self._found.done()
        return same and call.is_like(last.call)

    def found(
        self,
        verdict: Verdict,
        reason: Reason,
        message: str,
        middleware: dict[str, Any] | None = None,
        remedy: str | None = None,
    ) -> None:
        """Something that a middleware found or did not look for, or that an operator must know.

        Args:
            middleware: the record's part; no matched text is in it.
        """
        what = _What(verdict, reason, None, message, remedy)
        parts = {"middleware": middleware} if middleware is not None else {}
        self._write(Kind.FINDING, what, None, parts)

    @property
    def sandbox_name(self) -> str | None:
        """Whose connection it is; None where nobody's."""
        return self._sandbox.name if self._sandbox else None

    @property
    def scope(self) -> str:
        """Of the policy that judges it; empty where it is nobody's."""
        return self._sandbox.scope if self._sandbox else ""

    @property
    def hint(self) -> str | None:
        """What the sandbox's policy tells whoever is denied."""
        return self._sandbox.policy.hint if self._sandbox else None

    async def identified(self) -> Owner:
        """Wait until it is known whose it is."""
        self.owner = (await self._found).owner
        return self.owner

    def moved_to(self, sandbox: SandboxView) -> None:
        """The sandbox's policy has changed; what follows is recorded under the new revision."""
        self._sandbox = sandbox

    def _write(
        self,
        kind: Kind,
        what: "_What",
        measures: Measures | None,
        parts: dict[str, Any],
        *,
        single: bool = False,
    ) -> None:
        key: Key | None = None
        if not single:
            http = parts.get("http", _NO_HTTP)
            asked: tuple[Hashable, ...] = (http["method"], http["path"], http["status"])
            if "middleware" in parts:
                asked += (repr(parts["middleware"]),)
            revision = self._sandbox.revision if self._sandbox else None
            key = (self.sandbox_name, kind, what, revision, self._destination, asked)
            if self._recorder.is_repeat(key, measures):
                return
        record = self._record(kind, what, measures, parts)
        if self._found.done():
            self._write_with_process(key, record)
        else:
            self._found.add_done_callback(lambda _: self._write_with_process(key, record))

    def _record(
        self, kind: Kind, what: "_What", measures: Measures | None, parts: dict[str, Any]
    ) -> Record:
        sandbox = self._sandbox
        return Record(
            time=self._recorder.now(),
            sandbox=self.sandbox_name,
            kind=kind,
            verdict=what.verdict,
            reason=what.reason,
            destination=self._destination,
            tenant=sandbox.tenant if sandbox else None,
            rule=what.rule,
            policy_revision=sandbox.revision if sandbox else None,
            message=what.message,
            remedy=what.remedy,
            extra={**parts, **(measures or {})},
        )

    def _add_process(self, record: Record) -> None:
        if not self._found.cancelled():
            record.extra["process"] = self._found.result().process

    def _write_with_process(self, key: Key | None, record: Record) -> None:
        self._add_process(record)
        if key is not None and self._recorder.is_repeat(key, measures_of(record)):
            return  # another of its kind was told while we waited for the process
        self._recorder.record(key, record)


class _What(NamedTuple):
    """What was decided, as records tell it."""

    verdict: Verdict
    reason: Reason
    rule: str | None
    message: str
    remedy: str | None


@dataclass(slots=True)
class _Last:
    """A connection's last model call that was answered.

    Attributes:
        form: of its record; None until a second one is like it.
    """

    sandbox: SandboxView | None
    call: Like
    form: Form | None = None


_WELL: Final = _What(Verdict.ALLOWED, Reason.ALLOWED, None, "", None)
_NO_HTTP: Final = {"method": None, "path": None, "status": None}
ALLOWED: Final = Decision(Verdict.ALLOWED, Reason.ALLOWED)  # where no policy has a say
