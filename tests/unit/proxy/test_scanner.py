"""How many may ask the scan worker, and what its silence means."""

import asyncio
import os
import socket
from typing import Any

from netmgr.middleware.bounds import ACTIVE, MOST_OF_ONE, SESSIONS, WAITING
from netmgr.middleware.chain import Outcome, Stage
from netmgr.middleware.contract import Status
from netmgr.middleware.request import Phase, StageRequest
from netmgr.middleware.wire import outcome_doc
from netmgr.process.ipc import Answer, Body, Peer
from netmgr_proxy.payload import make_payload
from netmgr_proxy.scanner import Scanner
from netmgr_proxy.wire.face import Refusal

STAGES = (Stage("a", "a", "netmgr/tagger"), Stage("b", "b", "netmgr/pii", 1, required=False))
REQUEST = StageRequest(Phase.HTTP, "box", None, {}, "h", 443, "POST", "/", (), b"body")
ALLOWED = outcome_doc(
    Outcome().then(STAGES[0].skipped()).then(STAGES[1].skipped())
)  # not what a scan worker says; parsed all the same


def met(on_ask: Any) -> tuple[Scanner, Peer]:
    ours, theirs = socket.socketpair()
    scanner = Scanner()
    scanner.use(Peer(ours))
    return scanner, Peer(theirs, on_ask=on_ask)


def test_the_ninety_seventh_request_is_turned_away_and_others_are_left_room() -> None:
    async def run() -> list[Outcome | Refusal]:
        let_go = asyncio.Event()
        under_way = 0

        async def answer(what: str, body: Body, fds: tuple[int, ...]) -> Answer:
            nonlocal under_way
            under_way += 1
            assert under_way <= ACTIVE
            for fd in fds:
                os.close(fd)
            await let_go.wait()
            under_way -= 1
            return Answer(ALLOWED)

        scanner, scan = met(answer)
        asked = [("one", MOST_OF_ONE + 1), ("two", ACTIVE + WAITING - MOST_OF_ONE + 1)]
        waiting = [
            asyncio.ensure_future(scanner.ask(address, REQUEST, STAGES))
            for address, count in asked
            for _ in range(count)
        ]
        await asyncio.sleep(0.2)
        assert scanner.crowd("three") is not None
        let_go.set()
        said = await asyncio.gather(*waiting)
        assert scanner.crowd("one") is None
        scan.close()
        return list(said)

    said = asyncio.run(run())
    refusals = [each for each in said if isinstance(each, Refusal)]
    assert len(refusals) == 2
    assert {r.http_status for r in refusals} == {503}


def test_what_the_scan_worker_does_wrong_is_the_stages_failure() -> None:
    async def ask(answer: Any) -> Outcome | Refusal:
        async def reply(what: str, body: Body, fds: tuple[int, ...]) -> Answer:
            for fd in fds:
                os.close(fd)
            return answer()

        scanner, scan = met(reply)
        try:
            return await scanner.ask("one", REQUEST, STAGES)
        finally:
            scan.close()

    for wrong in (
        lambda: Answer({}),
        lambda: Answer({"results": [{}]}),
        lambda: Answer(ALLOWED, (make_payload(b"a body that nobody made"),)),
        lambda: Answer(ALLOWED, (os.eventfd(0),)),  # no file: reading it could wait
        lambda: Answer({"results": [{"status": "ok", "trouble": "", "answer": {}}] * 2}),
    ):
        outcome = asyncio.run(ask(wrong))
        assert isinstance(outcome, Outcome)
        assert outcome.failed_at is not None
        assert [r.status for r in outcome.results] == [Status.FAILED, Status.SKIPPED]


def test_without_a_scan_worker_stages_fail_as_they_are_configured() -> None:
    outcome = asyncio.run(Scanner().ask("one", REQUEST, STAGES[1:]))
    assert isinstance(outcome, Outcome)
    assert outcome.results[0].status is Status.BYPASSED
    assert "restarted" in outcome.results[0].trouble


def test_what_is_too_large_is_not_shown() -> None:
    labels = {"k": "v" * 5000}
    long = StageRequest(Phase.HTTP, "box", None, labels, "h", 443, "GET", "/")
    outcome = asyncio.run(Scanner().ask("one", long, STAGES))
    assert isinstance(outcome, Outcome)
    assert outcome.results[0].status is Status.OVER_LIMIT


def test_sessions_of_a_sandbox_are_bounded_and_given_back() -> None:
    scanner = Scanner()
    assert [scanner.begin_session("a") for _ in range(SESSIONS)] == [None] * SESSIONS
    refusal = scanner.begin_session("a")
    assert refusal is not None
    assert refusal.reason.value == "limit_exceeded"
    assert scanner.begin_session("b") is None, "another sandbox has its own"
    scanner.end_session("a")
    assert scanner.begin_session("a") is None


def test_a_handshake_is_given_up_sooner() -> None:
    async def run() -> Outcome | Refusal:
        let_go = asyncio.Event()

        async def answer(what: str, body: Body, fds: tuple[int, ...]) -> Answer:
            for fd in fds:
                os.close(fd)
            await let_go.wait()
            return Answer(ALLOWED)

        scanner, peer = met(answer)
        try:
            return await scanner.ask("a", REQUEST, STAGES, 0.05)
        finally:
            let_go.set()
            await asyncio.sleep(0.05)
            peer.close()
            await asyncio.sleep(0.05)

    outcome = asyncio.run(run())
    assert isinstance(outcome, Outcome)
    assert outcome.results[0].trouble == "no answer within 0.05 s"
