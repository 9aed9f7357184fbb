"""A router that is a program: asked in JSON lines, and never waited for too long."""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from netmgr.routing.contract import Request
from netmgr.routing.generation import Generation
from netmgr.routing.plugins import Plugins, judge_router, make_router
from netmgr.routing.schema import routing_from_doc
from netmgr_proxy.line_channel import MAX_ANSWER
from netmgr_proxy.line_router import LineRouter

DOC = {
    "version": 1,
    "router": "prog",
    "endpoints": {name: {"provider": "p", "model": name} for name in ("a", "b", "c")},
}

Answer = Callable[[dict[str, Any]], bytes | None]


def line(answer: dict[str, Any]) -> bytes:
    return json.dumps(answer).encode() + b"\n"


@pytest.fixture
def program() -> Iterator[Callable[[Answer], tuple[Generation, list[dict[str, Any]]]]]:
    """Starts a program that answers as told; the generation that asks it, and what it was asked."""
    opened: list[socket.socket] = []

    def start(answer: Answer) -> tuple[Generation, list[dict[str, Any]]]:
        ours, theirs = socket.socketpair()
        opened.extend((ours, theirs))
        asked: list[dict[str, Any]] = []

        def serve() -> None:
            with contextlib.suppress(OSError), theirs.makefile("rb") as lines:
                for text in lines:
                    asked.append(json.loads(text))
                    if asked[-1]["do"] == "validate":
                        theirs.sendall(line({"id": asked[-1]["id"], "problems": []}))
                    elif asked[-1]["do"] == "order":
                        data = answer(asked[-1])
                        if data is None:
                            theirs.shutdown(socket.SHUT_RDWR)
                            return
                        theirs.sendall(data)

        threading.Thread(target=serve, daemon=True).start()
        router = LineRouter("prog")
        router.connect(ours)
        file = routing_from_doc(DOC)
        plugins = Plugins({"prog": router})
        assert judge_router(file, plugins) == []
        return Generation(file, 3, None, make_router(file, 3, plugins)), asked

    yield start
    for sock in opened:
        sock.close()


def decide(generation: Generation):
    return generation.decide(generation.context(Request(tenant="t")))


def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test machine may be busy."""
    monkeypatch.setattr("netmgr_proxy.line_router.ANSWER_S", 0.09)


def test_it_orders(program, monkeypatch) -> None:
    patient(monkeypatch)
    generation, asked = program(lambda ask: line({"id": ask["id"], "order": ["c", "a"]}))
    assert decide(generation).endpoints == ("c", "a")
    assert [each["do"] for each in asked] == ["validate", "prepare", "order"]
    assert asked[-1]["context"]["tenant"] == "t"
    assert asked[1]["generation"] == 3


BAD: dict[str, tuple[Answer, str]] = {
    "adds": (lambda ask: line({"id": ask["id"], "order": ["a", "z"]}), "added an id"),
    "repeats": (lambda ask: line({"id": ask["id"], "order": ["a", "a"]}), "repeated an id"),
    "junk": (lambda ask: b"\xff\x00\n", "raised"),
    "no object": (lambda ask: b"[1]\n", "no JSON object"),
    "no order": (lambda ask: line({"id": ask["id"]}), "dropped every endpoint"),
    "endless": (lambda ask: b"x" * (MAX_ANSWER + 1000), "bytes in a line"),
    "dies": (lambda ask: None, "its program has ended"),
    "sleeps": (lambda ask: time.sleep(1) or b"", "took too long"),
    "of another": (lambda ask: line({"id": 99, "order": ["c"]}), "took too long"),
}


@pytest.mark.parametrize("name", BAD)
def test_misbehaviour_gives_the_default_order_and_a_finding(program, monkeypatch, name) -> None:
    patient(monkeypatch)
    answer, finding = BAD[name]
    generation, _ = program(answer)
    begun = time.monotonic()
    plan = decide(generation)
    assert plan.endpoints == ("a", "b", "c")
    assert finding in plan.findings[0]
    assert time.monotonic() - begun < 0.8


def test_a_late_answer_is_not_taken_for_the_next(program, monkeypatch) -> None:
    patient(monkeypatch)
    kept: list[int] = []

    def answer(ask: dict[str, Any]) -> bytes:
        kept.append(ask["id"])
        if len(kept) == 1:
            return b""
        late = line({"id": kept[0], "order": ["c", "b", "a"]})
        return late + line({"id": ask["id"], "order": ["b", "a", "c"]})

    generation, _ = program(answer)
    assert decide(generation).endpoints == ("a", "b", "c")
    assert decide(generation).endpoints == ("b", "a", "c")
