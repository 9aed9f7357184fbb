"""Owns: a router that is a program of its own, asked over a socket in JSON lines.

    > {"id": 1, "do": "validate", "config": {...}, "endpoints": [...]}
    < {"id": 1, "problems": []}
    > {"id": 2, "do": "prepare", "generation": 7, "config": {...}, "endpoints": [...]}
    > {"id": 3, "do": "order", "context": {...}, "permitted": [...]}
    < {"id": 3, "order": [...]}
    > {"id": 4, "do": "observe", "outcome": {...}}

The program runs as a user of its own in a network namespace with nothing in it. It gets facts and
labels, never a prompt, a URL or a credential. Every answer has a deadline and is checked as any
plug-in's is (netmgr.routing.guarded); a late one is told by its number and thrown away.
"""

import json
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, ClassVar, Final

from netmgr.routing.contract import (
    API_VERSION,
    AttemptOutcome,
    Diagnostic,
    EndpointId,
    EndpointView,
    RouteContext,
    RoutingSnapshot,
)

ANSWER_S: Final = 0.002  # what ModelRouter promises
VALIDATE_S: Final = 0.5  # once per file
MAX_ANSWER: Final = 128 * 1024  # bytes of a line: a thousand ids
MAX_PROBLEMS: Final = 20


class LineRouter:
    """A ModelRouter; see there.

    Args:
        name: as the daemon's settings call it.
    """

    API_VERSION: ClassVar[int] = API_VERSION

    def __init__(self, name: str) -> None:
        self.NAME = name
        self._sock: socket.socket | None = None
        self._number = 0
        self._received = b""
        self._snapshot: RoutingSnapshot | None = None

    def connect(self, sock: socket.socket) -> None:
        """Take a channel to a program that has just been started; one that was there is closed."""
        self._close()
        sock.setblocking(False)
        self._sock, self._received = sock, b""
        if self._snapshot is not None:
            self.prepare(self._snapshot)

    def validate(
        self, config: Mapping[str, Any], endpoints: Sequence[EndpointView]
    ) -> list[Diagnostic]:
        """See ModelRouter."""
        asked = {"config": dict(config), "endpoints": [_endpoint(each) for each in endpoints]}
        problems = self._ask("validate", asked, VALIDATE_S).get("problems")
        if not isinstance(problems, list):
            raise ValueError("answered 'validate' without 'problems'")
        return [Diagnostic("error", "router", str(p)[:200]) for p in problems[:MAX_PROBLEMS]]

    def prepare(self, snapshot: RoutingSnapshot) -> None:
        """See ModelRouter."""
        self._snapshot = snapshot
        endpoints = [_endpoint(each) for each in snapshot.endpoints]
        told = {"generation": snapshot.generation, "config": dict(snapshot.config)}
        if self._sock is not None:
            self._tell("prepare", told | {"endpoints": endpoints})

    def order(self, ctx: RouteContext, permitted: Sequence[EndpointView]) -> Sequence[EndpointId]:
        """See ModelRouter."""
        asked = {"context": _context(ctx), "permitted": [_endpoint(each) for each in permitted]}
        answer: Sequence[EndpointId] = self._ask("order", asked, ANSWER_S).get("order") or ()
        return answer

    def observe(self, outcome: AttemptOutcome) -> None:
        """See ModelRouter."""
        if self._sock is not None:
            self._tell("observe", {"outcome": asdict(outcome)})

    # -- lines -------------------------------------------------------------------------------

    def _tell(self, what: str, body: Mapping[str, Any]) -> int:
        if self._sock is None:
            raise ConnectionError("its program does not run")
        self._number += 1
        line = json.dumps({"id": self._number, "do": what, **body}, separators=(",", ":"))
        data = line.encode() + b"\n"
        try:
            sent = self._sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError as gone:
            self._close()
            raise ConnectionError("its program has ended") from gone
        if sent != len(data):  # half a line: nothing that follows could be read
            self._close()
            raise ConnectionError("its program does not read what it is asked")
        return self._number

    def _ask(self, what: str, body: Mapping[str, Any], patience_s: float) -> dict[str, Any]:
        number, ends = self._tell(what, body), time.monotonic() + patience_s
        while True:
            line = self._line(ends)
            answer = json.loads(line)
            if not isinstance(answer, dict):
                raise ValueError("answered what is no JSON object")
            if answer.get("id") == number:
                return answer

    def _line(self, ends: float) -> bytes:
        """The next line."""
        assert self._sock is not None
        while b"\n" not in self._received:
            if len(self._received) > MAX_ANSWER:
                self._close()
                raise ValueError(f"answered with more than {MAX_ANSWER} bytes in a line")
            left = ends - time.monotonic()
            if left <= 0:
                raise TimeoutError("took too long")
            self._sock.settimeout(left)
            try:
                data = self._sock.recv(64 * 1024)
            except TimeoutError:
                raise TimeoutError("took too long") from None
            except OSError:
                data = b""
            finally:
                self._sock.setblocking(False)
            if not data:
                self._close()
                raise ConnectionError("its program has ended")
            self._received += data
        line, _, self._received = self._received.partition(b"\n")
        return line

    def _close(self) -> None:
        if self._sock is not None:
            self._sock.close()
            self._sock = None


def _context(ctx: RouteContext) -> dict[str, Any]:
    return ctx.to_doc() | {
        "tenant": ctx.tenant,
        "sandbox": ctx.sandbox_id,
        "protocol": ctx.protocol,
        "route": ctx.route,
        "label": ctx.label,
        "generation": ctx.generation,
    }


def _endpoint(view: EndpointView) -> dict[str, Any]:
    facts = {
        key: sorted(value) if isinstance(value, frozenset) else value
        for key, value in asdict(view.facts).items()
    }
    return {"id": view.id, "model": view.model, "facts": facts, "health": asdict(view.health)}
