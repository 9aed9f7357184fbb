"""The small parts that need no socket: gate, recorder, deadlines of a call, limits, leaves."""

import asyncio
import json
from dataclasses import replace
from typing import Any, cast

import pytest

from netmgr.errors import BadInput
from netmgr.inference.base_url import parse_base_url
from netmgr.inference.route import InferenceRoute
from netmgr.journal.wire import parse_records
from netmgr.model import RECORDS_PER_MESSAGE, Destination, Record
from netmgr.policy.decision import Target, Treatment
from netmgr.policy.policy import parse_policy
from netmgr.process.frames import encode_frame
from netmgr.process.ipc import Answer, Peer
from netmgr.process.supervise import MAX_WORKER_FRAME
from netmgr.process.view import SandboxView
from netmgr.reasons import Kind, Reason, Verdict
from netmgr_proxy.call_clock import CallClock
from netmgr_proxy.flows import FOREVER
from netmgr_proxy.gate import Deny, Inference, Splice, Terminate, judge_caller
from netmgr_proxy.leaves import Leaves
from netmgr_proxy.limits import LIMIT_NAMES, Limits, parse_limits
from netmgr_proxy.peer import Caller
from netmgr_proxy.recorder import GATHER_S, MAX_AT_ONCE, Measures, Recorder
from netmgr_proxy.shelf import Shelf
from tests.unit.proxy.rig import REST_POLICY, run, sandbox_authority

NAMES = {"api.test": "198.18.0.1", "plain.test": "198.18.0.2", "inference.local": "198.18.0.3"}


def sandbox() -> SandboxView:
    return SandboxView(
        address="10.77.0.5",
        name="box",
        tenant=None,
        labels={},
        policy=parse_policy(REST_POLICY + "  l4: {endpoints: [{host: 203.0.113.7, port: 22}], "
                            "binaries: [{path: /**}]}\n", "t"),
        revision=3,
        names=NAMES,
        by_ip={ip: name for name, ip in NAMES.items()},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("ip", "port", "kind", "reason"),
    [
        ("198.18.0.1", 443, Terminate, None),
        ("198.18.0.1", 22, Deny, Reason.PORT_NOT_ALLOWED),
        ("198.18.0.3", 443, Inference, None),
        ("198.18.0.3", 80, Inference, None),
        ("198.18.0.3", 8443, Deny, Reason.PORT_NOT_ALLOWED),
        ("203.0.113.7", 22, Splice, None),
        ("203.0.113.7", 23, Deny, Reason.PORT_NOT_ALLOWED),
        ("203.0.113.8", 22, Deny, Reason.RAW_IP),
        ("198.18.9.9", 443, Deny, Reason.RAW_IP),
    ],
)
def test_the_gate_knows_what_the_state_knows(
    ip: str, port: int, kind: type, reason: Reason | None
) -> None:
    gate = judge_caller(sandbox(), Caller("10.77.0.5", 5, ip, port), journal=True)
    assert isinstance(gate, kind)
    if isinstance(gate, Deny):
        assert gate.refusal.reason is reason
    if isinstance(gate, Terminate):
        assert gate.decision.treatment is Treatment.TERMINATE


def test_a_live_connection_is_judged_by_the_name_that_it_was_let_in_for() -> None:
    """Its address may stand for nothing any more, once the policy has lost the name."""
    gone = Target("gone.test", None, 443)
    caller = Caller("10.77.0.5", 5, "198.18.9.9", 443)
    gate = judge_caller(sandbox(), caller, journal=True, let_in_for=gone)
    assert isinstance(gate, Deny)
    assert gate.refusal.reason is Reason.NO_MATCHING_RULE
    assert gate.target == gone


def test_nobody_and_a_full_journal_are_denied() -> None:
    caller = Caller("10.77.0.9", 5, "198.18.0.1", 443)
    nobody = judge_caller(None, caller, journal=True)
    assert isinstance(nobody, Deny)
    assert nobody.refusal.reason is Reason.UNKNOWN_CALLER
    full = judge_caller(sandbox(), caller, journal=False)
    assert isinstance(full, Deny)
    assert full.refusal.reason is Reason.JOURNAL_UNAVAILABLE


class Told:
    """The daemon's end as the recorder uses it: keeps what it is told."""

    def __init__(self) -> None:
        self.closed = False
        self.records: list[dict[str, Any]] = []
        self.messages = 0

    def tell_text(self, what: str, body: str) -> None:
        assert what == "records"
        self.messages += 1
        self.records += json.loads(body)["records"]


def a_record(path: str = "/") -> Record:
    return Record(
        time=1.0,
        sandbox="box",
        kind=Kind.HTTP,
        verdict=Verdict.DENIED,
        reason=Reason.PATH_NOT_ALLOWED,
        destination=Destination("api.test", "198.18.0.1", 443, "tcp"),
        extra={"http": {"method": "GET", "path": path, "status": 403}},
    )


def test_every_decision_of_a_flood_is_counted() -> None:
    async def story() -> None:
        told = Told()
        recorder = Recorder(cast(Peer, told))
        for n in range(1000):
            key = ("box", "same", f"/{n}")
            assert not recorder.is_repeat(key, None)
            recorder.record(key, a_record(f"/{n}"))
        for _ in range(50):
            assert recorder.is_repeat(
                ("box", "same", "/1"), Measures(bytes_in=1, bytes_out=2, duration_ms=3)
            )
        recorder.flush()
        assert sum(record["count"] for record in told.records) == 1050
        assert len(told.records) == MAX_AT_ONCE + 2
        repeats = next(record for record in told.records if record["count"] == 50)
        assert (repeats["bytes_in"], repeats["bytes_out"], repeats["duration_ms"]) == (50, 100, 3)
        recorder.record(None, a_record())  # never a repeat
        recorder.flush()
        assert told.records[-1]["count"] == 1

    run(story())


def test_what_is_told_within_a_moment_goes_in_one_message() -> None:
    async def story() -> None:
        told = Told()
        recorder = Recorder(cast(Peer, told))
        most = RECORDS_PER_MESSAGE
        for n in range(most + 3):
            recorder.record(None, a_record(f"/{n}"))
        assert len(told.records) == most  # a full message waits for nothing
        async with asyncio.timeout(1.0):
            while told.messages < 2:
                await asyncio.sleep(GATHER_S)
        assert [r["http"]["path"] for r in told.records] == [f"/{n}" for n in range(most + 3)]
        assert len(parse_records({"records": told.records[:most]})) == most

    run(story())


def test_a_daemon_that_is_gone_is_told_nothing() -> None:
    async def story() -> None:
        told = Told()
        recorder = Recorder(cast(Peer, told))
        recorder.record(None, a_record())
        told.closed = True
        recorder.record(None, a_record())
        recorder.flush()
        assert told.messages == 0

    run(story())


def test_the_longest_records_fit_into_one_frame() -> None:
    longest = "é" * 40_000
    record = a_record(longest)
    wide = {f"{n}": longest for n in range(20)}
    record.extra["inference"] = wide
    wire = record.to_wire()
    size = len(encode_frame({"tell": "records", "body": {"records": [wire]}}, 0))
    assert size * RECORDS_PER_MESSAGE < MAX_WORKER_FRAME


def a_route(**more: Any) -> InferenceRoute:
    base = parse_base_url("https://p.test/v1", "t")
    route = InferenceRoute(id="r", provider="p", type="openai", base=base, model="m")
    return replace(route, timeout_s=60.0, first_byte_timeout_s=20.0, idle_timeout_s=30.0, **more)


def test_the_deadlines_of_a_call_come_in_their_order() -> None:
    clock = CallClock(a_route(), 100.0)
    assert clock.connecting(100.0) == 110.0
    assert clock.sent(101.0) == 121.0
    assert "sent no answer within 20 s" in clock.explain().message
    assert clock.sent(150.0) == 160.0  # the whole is bounded as well
    assert clock.head(streaming=True) == 160.0
    assert clock.chunk(159.0) == 189.0  # a stream that has begun may last
    assert clock.ttfb_ms is None
    clock.note_first_byte(159.0)
    assert clock.ttfb_ms == 59_000
    bounded = CallClock(a_route(total_timeout_s=65.0), 100.0)
    assert bounded.chunk(150.0) == 165.0
    assert "65 s" in bounded.explain().message
    assert bounded.chunk(101.0) == 131.0
    assert bounded.sent(0.0) < FOREVER


def test_limits_are_named_and_positive() -> None:
    assert parse_limits({}) == Limits()
    assert parse_limits({"request_headers": 50}).request_headers == 50
    assert "drain_s" in LIMIT_NAMES
    with pytest.raises(BadInput, match="did you mean 'request_headers'"):
        parse_limits({"request_header": 50})
    for bad in (0, -1, True, "1", 1.5):
        with pytest.raises(BadInput):
            parse_limits({"request_headers": bad})


class Signer:
    """The daemon's end as `Leaves` uses it: signs, and counts."""

    def __init__(self) -> None:
        self.asked = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def ask(self, what: str, body: dict[str, Any], *, deadline_s: float) -> Answer:
        self.asked += 1
        await self.gate.wait()
        leaf = sandbox_authority().sign_leaf(body["name"], 1.8e9)
        return Answer({"chain": leaf.chain_pem, "key": leaf.key_pem.reveal()})


def test_leaves_are_asked_for_once_and_forgotten_for_good() -> None:
    async def story() -> None:
        signer, shelf = Signer(), Shelf()
        leaves = Leaves(cast(Peer, signer), shelf, capacity=2)
        burst = await asyncio.gather(*(leaves.get("10.77.0.5", "a.test") for _ in range(5)))
        assert signer.asked == 1
        assert len(set(map(id, burst))) == 1
        await leaves.get("10.77.0.6", "a.test")
        assert signer.asked == 2  # never shared between sandboxes
        await leaves.get("10.77.0.5", "b.test")
        assert len(leaves) == 2  # the oldest went
        signer.gate.clear()
        late = asyncio.ensure_future(leaves.get("10.77.0.7", "a.test"))
        await asyncio.sleep(0)
        leaves.forget("10.77.0.7")
        signer.gate.set()
        await late
        assert len(leaves) == 2  # signed for a sandbox that was gone meanwhile: not kept
        shelf.close()

    run(story())


@pytest.mark.parametrize("years", [2, -1])
def test_a_leaf_of_another_time_is_asked_for_anew(years: int) -> None:
    async def story() -> None:
        signer, shelf = Signer(), Shelf()
        wall = [1.8e9]
        leaves = Leaves(cast(Peer, signer), shelf, capacity=2, wall=lambda: wall[0])
        await leaves.get("10.77.0.5", "a.test")
        wall[0] += years * 365 * 86400
        await leaves.get("10.77.0.5", "a.test")
        await leaves.get("10.77.0.5", "a.test")
        assert signer.asked == 2
        shelf.close()

    run(story())


def test_the_target_of_a_literal_address_has_no_name() -> None:
    gate = judge_caller(sandbox(), Caller("10.77.0.5", 5, "203.0.113.7", 22), journal=True)
    assert isinstance(gate, Splice)
    assert gate.target == Target(None, "203.0.113.7", 22)
