"""Flows that are open while the policy changes: exactly those that it no longer allows are cut.

A WebSocket, a stream of events, an upload under way, a relayed TLS connection and a raw one, all
open at once, each on the one connection that it began with.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
from acceptance.live_flows import (
    ARRIVES_S,
    FLOWS,
    KINDS,
    PIECE,
    UPLOAD_PIECES,
    Flow,
    UploadFlow,
    host,
    policy,
    raise_servers,
)
from world import Sandbox, World
from world.streams import Server

pytestmark = pytest.mark.root

MORE = "  more:\n    endpoints: [{host: more.test, port: 443}]\n    binaries: [{path: /**}]\n"
STARTED_S = 15.0  # a worker's successor, on two busy cores


@pytest.fixture(scope="module")
def servers(world: World) -> dict[str, Server]:
    """What the flows lead to."""
    return raise_servers(world)


@pytest.fixture
def box(make_sandbox: Callable[..., Sandbox], servers: dict[str, Server]) -> Sandbox:
    """A sandbox that may have all of them."""
    for server in servers.values():
        server.forget()
    return make_sandbox(policy(*KINDS))


@pytest.fixture
def flows(box: Sandbox) -> Iterator[dict[str, Flow]]:
    """One of each kind, begun."""
    with ExitStack() as stack:
        made = {kind.kind: stack.enter_context(kind(box)) for kind in FLOWS}
        for flow in made.values():
            flow.step()
        yield made


def assert_going_on(flows: dict[str, Flow], servers: dict[str, Server], *kinds: str) -> None:
    """They work, on the connection that they began with, at both ends."""
    for kind in kinds:
        flows[kind].step()
        assert len(servers[kind].connections) == 1, f"{kind} was connected anew"
        assert servers[kind].connections[0].ended == "open"
    upload = flows["upload"]
    if "upload" in kinds and isinstance(upload, UploadFlow):
        wait_for(lambda: servers["upload"].received.count(PIECE) == upload.sent)


def wait_for(fits: Callable[[], bool], within_s: float = ARRIVES_S) -> None:
    deadline = time.monotonic() + within_s
    while not fits():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_change_that_keeps_them_disturbs_none(
    box: Sandbox, flows: dict[str, Flow], servers: dict[str, Server]
) -> None:
    reordered = policy(*reversed(KINDS))
    for text in (policy(*KINDS) + MORE, "# a word\n" + reordered, reordered + MORE):
        box.policy(text)
        assert_going_on(flows, servers, *KINDS)
    upload = flows["upload"]
    assert isinstance(upload, UploadFlow)
    assert upload.finish().startswith(b"HTTP/1.1 200")
    assert servers["upload"].received.endswith(PIECE * UPLOAD_PIECES)


def test_a_candidate_that_is_refused_touches_none(
    world: World, box: Sandbox, flows: dict[str, Flow], servers: dict[str, Server]
) -> None:
    wrong = {"text": policy("raw").replace("port:", "prot:"), "source": "wrong.yaml"}
    status, said = world.netmgrd.api("PUT", f"/v1/sandboxes/{box.name}/policy", wrong)
    assert (status, "prot" in str(said)) == (422, True), said
    assert_going_on(flows, servers, *KINDS)


@pytest.mark.parametrize("denied", KINDS)
def test_a_change_that_denies_one_cuts_that_one(
    box: Sandbox, flows: dict[str, Flow], servers: dict[str, Server], denied: str
) -> None:
    others = [kind for kind in KINDS if kind != denied]
    box.policy(policy(*others))
    assert flows[denied].is_cut()
    assert_going_on(flows, servers, *others)
    wait_for(lambda: servers[denied].connections[0].ended != "open")
    record = box.wait_record(
        lambda r: r["verdict"] == "denied" and r["destination"]["name"] == host(denied)
    )
    assert record["reason"] == "no_matching_rule"
    assert record["policy_revision"] == 2
    assert record["bytes_out"] + record["bytes_in"] > 0
    assert host(denied) in record["remedy"]
    told = [r for r in box.records() if r["destination"]["name"] == host(denied)]
    # The start of a long one is told too: it has measured nothing.
    ends = [r["verdict"] for r in told if r["kind"] != "dns" and "duration_ms" in r]
    assert ends == ["denied"], "one record of its end"


def test_what_is_cut_stays_shut(box: Sandbox, flows: dict[str, Flow]) -> None:
    box.policy(policy(*KINDS[:-1]))
    assert flows["raw"].is_cut()
    assert not works(box, "raw")


@pytest.mark.parametrize("denied", ["raw", "events"])
def test_a_worker_killed_during_a_change_comes_back_with_it(
    make_world: Callable[[], World], denied: str
) -> None:
    world = make_world()
    world.daemon()
    raise_servers(world)
    box = world.sandbox("a", policy(*KINDS))
    after = policy(*(kind for kind in KINDS if kind != denied))
    proxies = [pid for pid, kind in world.netmgrd.processes().items() if kind == "proxy"]
    with ExitStack() as stack:
        for pid in proxies:
            os.kill(pid, signal.SIGSTOP)  # none can have taken the change up when it dies
        changing = stack.enter_context(ThreadPoolExecutor()).submit(box.policy, after)
        for pid in proxies:
            os.kill(pid, signal.SIGKILL)
        assert changing.result(STARTED_S)["revision"] == 2
    wait_for(lambda: works(box, "spliced"), STARTED_S)
    assert not works(box, denied)
    assert all(works(box, kind) for kind in KINDS if kind != denied)


def works(box: Sandbox, kind: str) -> bool:
    """Whether a new flow of that kind comes about."""
    (made,) = (flow for flow in FLOWS if flow.kind == kind)
    try:
        with made(box) as flow:
            flow.step()
    except (OSError, IndexError):  # no address, no connection, or cut
        return False
    return True
