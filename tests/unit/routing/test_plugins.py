"""Plug-ins: what they may do is done, what they must not has no effect but a finding."""

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from netmgr.policy.problems import PolicyError
from netmgr.routing.contract import (
    Diagnostic,
    EndpointView,
    Health,
    HealthBoard,
    Plan,
    Request,
    RouteContext,
)
from netmgr.routing.generation import Generation
from netmgr.routing.guarded import FAULTS_IN_A_ROW, REST_CALLS
from netmgr.routing.plugins import Plugins, judge_router, make_router
from netmgr.routing.schema import routing_from_doc
from netmgr_proxy.line_router import LineRouter, LineScorer
from netmgr_proxy.plugin_host import load, serve

EXAMPLE = Path(__file__).parents[3] / "examples/cheapest_router/src"


def document(router: object = "mine") -> dict[str, Any]:
    prices = {"a": ("1", "10"), "b": ("3", "2"), "c": ("2", "6")}
    return {
        "version": 1,
        "router": router,
        "endpoints": {
            name: {
                "provider": "p",
                "model": name,
                "facts": {
                    "price": {"in": cost[0], "out": cost[1]},
                    "operated_by": "self" if name == "a" else "third_party",
                },
            }
            for name, cost in prices.items()
        },
        "rules": [
            {"id": "not-b", "when": {"tenant": "t"}, "require": {"endpoint": {"not_in": ["b"]}}}
        ],
    }


class Router:
    """A router that does what the test says."""

    API_VERSION = 1
    NAME = "mine"

    def __init__(self, act=lambda ids: ids) -> None:
        self.act = act
        self.asked = 0
        self.seen: list[RouteContext] = []

    def validate(self, config, endpoints) -> list[Diagnostic]:
        return []

    def prepare(self, snapshot) -> None:
        pass

    def order(self, ctx: RouteContext, permitted: list[EndpointView]):
        self.asked += 1
        self.seen.append(ctx)
        return self.act([view.id for view in permitted])

    def observe(self, outcome) -> None:
        pass


def plan(router: Router, tenant: str = "t", times: int = 1) -> list[Plan]:
    plugins = Plugins({"mine": router})
    file = routing_from_doc(document())
    generation = Generation(file, 1, None, make_router(file, 1, plugins))
    ctx = generation.context(Request(tenant=tenant))
    return [generation.decide(ctx) for _ in range(times)]


def test_it_orders_what_is_permitted() -> None:
    (found,) = plan(Router(lambda ids: ids[::-1]))
    assert found.endpoints == ("c", "a")
    assert found.findings == ()


def test_it_may_drop() -> None:
    assert plan(Router(lambda ids: [ids[1]]))[0].endpoints == ("c",)


def test_of_one_endpoint_there_is_nothing_to_order() -> None:
    router = Router()
    doc = document() | {"routes": {"default": ["a"]}}
    file = routing_from_doc(doc)
    generation = Generation(file, 1, None, make_router(file, 1, Plugins({"mine": router})))
    generation.decide(generation.context(Request()))
    assert router.asked == 0


class Liar(str):
    """A text that says it is another."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return hash("a")


WRONG = {
    "raises": (lambda ids: 1 / 0, "raised 'ZeroDivisionError"),
    "adds": (lambda ids: [*ids, "b"], "added an id that is not permitted"),
    "invents": (lambda ids: ["https://evil.test"], "added an id that is not permitted"),
    "repeats": (lambda ids: [ids[0], *ids], "repeated an id"),
    "drops all": (lambda ids: [], "dropped every endpoint"),
    "returns nothing": (lambda ids: None, "answered NoneType"),
    "returns a text": (lambda ids: "ac", "answered str"),
    "returns junk": (lambda ids: [1, {}], "answered what is no id"),
    "returns a generator": (lambda ids: (each for each in ids), "answered generator"),
    "lies": (lambda ids: [Liar("b")], "answered what is no id"),
    "swallows memory": (lambda ids: ["a"] * 10_000, "repeated an id"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_answer_gives_the_default_order_and_a_finding(name: str) -> None:
    act, finding = WRONG[name]
    (found,) = plan(Router(act))
    assert found.endpoints == ("a", "c")
    assert len(found.findings) == 1
    assert finding in found.findings[0]
    assert "default order" in found.findings[0]


# -- in a process of its own, as netmgr runs them -----------------------------------------------

HOST = """
import os, signal, sys, time
from netmgr_proxy.plugin_host import serve

class Router:
    def validate(self, config, endpoints): return []
    def prepare(self, snapshot): {prepare}
    def observe(self, outcome): pass
    def order(self, ctx, permitted):
        ids = [each.id for each in permitted]
        {order}

out = os.fdopen(os.dup(1), "wb", buffering=0)
serve(Router(), sys.stdin.buffer, out.write)
"""
LOSSES = {
    "raises": ("raise RuntimeError('no')", "RuntimeError: no"),
    "exits": ("sys.exit(3)", "its program has ended"),
    "dies": ("os.kill(os.getpid(), signal.SIGKILL)", "its program has ended"),
    "sleeps": ("time.sleep(5)", "took too long"),
    "spins": ("while True: pass", "took too long"),
    "spins in C": ("return sum(range(10**12))", "took too long"),
    "adds": ("return [*ids, 'b']", "added an id that is not permitted"),
    "repeats": ("return ids * 2", "repeated an id"),
    "drops all": ("return []", "dropped every endpoint"),
    "returns what is no JSON": ("return [object()]", "TypeError"),
    "returns a generator": ("return (each for each in ids)", "answered generator, not a list"),
}


@pytest.fixture
def hosted() -> Iterator[Callable[..., LineRouter]]:
    """Starts a plug-in's process."""
    started: list[subprocess.Popen[bytes]] = []
    opened: list[socket.socket] = []

    def start(order: str, prepare: str = "pass") -> LineRouter:
        ours, theirs = socket.socketpair()
        code = HOST.format(order=order, prepare=prepare)
        command = [sys.executable, "-I", "-c", code]
        with theirs:
            started.append(subprocess.Popen(command, stdin=theirs, stdout=theirs))
        router = LineRouter("mine")
        router.connect(ours)
        opened.append(ours)
        return router

    yield start
    for sock in opened:
        sock.close()
    for process in started:
        process.kill()
        process.wait()


def ready(router: LineRouter, monkeypatch: pytest.MonkeyPatch) -> Generation:
    """Its generation, once the process answers: an interpreter takes its time."""
    file, plugins = routing_from_doc(document()), Plugins({"mine": router})
    monkeypatch.setattr("netmgr_proxy.line_router.VALIDATE_S", 20.0)
    assert judge_router(file, plugins) == []
    return Generation(file, 1, None, make_router(file, 1, plugins))


@pytest.mark.parametrize("name", LOSSES)
def test_misbehaviour_gives_the_default_order_and_a_finding(
    hosted: Callable[..., LineRouter], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    act, finding = LOSSES[name]
    generation = ready(hosted(act), monkeypatch)
    patience = 0.05 if finding == "took too long" else 5.0  # a test machine may be busy
    monkeypatch.setattr("netmgr_proxy.line_router.ANSWER_S", patience)
    begun = time.monotonic()
    found = generation.decide(generation.context(Request(tenant="t")))
    assert time.monotonic() - begun < 5
    assert found.endpoints == ("a", "c")
    assert len(found.findings) == 1
    assert finding in found.findings[0]


def test_one_that_cannot_prepare_is_told_of(hosted, monkeypatch) -> None:
    """It has not said so at once, but it does when it is asked."""
    generation = ready(hosted("return ids[::-1]", "self.ids = snapshot.nothing"), monkeypatch)
    monkeypatch.setattr("netmgr_proxy.line_router.ANSWER_S", 5.0)
    (finding,) = generation.decide(generation.context(Request(tenant="t"))).findings
    assert "AttributeError" in finding


def test_who_fails_often_is_asked_less_often() -> None:
    router = Router(lambda ids: 1 / 0)
    plans = plan(router, times=FAULTS_IN_A_ROW + REST_CALLS + 1)
    assert router.asked == FAULTS_IN_A_ROW + 1
    assert f"next {REST_CALLS} decisions" in plans[FAULTS_IN_A_ROW - 1].findings[0]
    assert plans[FAULTS_IN_A_ROW].findings == ()
    assert all(each.endpoints == ("a", "c") for each in plans)


def test_a_plug_in_sees_no_url_and_no_credential() -> None:
    router = Router()
    plan(router)
    assert {*RouteContext._fields} >= {"label", "tenant"}
    told = repr(router.seen)
    assert "http" not in told
    assert not {"url", "base", "credential", "body", "messages"} & {*RouteContext._fields}


def test_a_router_that_is_not_enabled_is_refused_by_name() -> None:
    with pytest.raises(PolicyError, match="no router 'mine' is enabled; there are single"):
        make_router(routing_from_doc(document()), 1, Plugins())


@pytest.mark.parametrize(
    ("router", "problem"),
    [
        ({"name": "weighted"}, "expected {weights"),
        ({"name": "weighted", "config": {"weights": {"price": 0}}}, "above 0"),
        ({"name": "weighted", "config": {"weights": {"prise": 1}}}, "no scorer 'prise'"),
        ({"name": "ordered", "config": {"x": 1}}, "takes no config"),
        ("single", "one endpoint in a route"),
    ],
)
def test_a_router_s_config_is_judged(router: object, problem: str) -> None:
    with pytest.raises(PolicyError, match=problem):
        make_router(routing_from_doc(document(router)), 1, Plugins())


def test_weights_order_by_their_sum() -> None:
    file = routing_from_doc(document({"name": "weighted", "config": {"weights": {"price": 1}}}))
    generation = Generation(file, 1, None, make_router(file, 1, Plugins()))
    ctx = generation.context(Request())
    assert generation.decide(ctx).endpoints == ("b", "c", "a")


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Iterator[Plugins]:
    """The example's plug-ins, asked as they are, but in threads."""
    monkeypatch.syspath_prepend(str(EXAMPLE))
    monkeypatch.setattr("netmgr_proxy.line_router.ANSWER_S", 5.0)
    import netmgr_cheapest_router as package

    router, scorer = LineRouter("cheapest"), LineScorer("local")
    opened = []
    for asked, made in ((router, package.CheapestRouter()), (scorer, package.LocalScorer())):
        ours, theirs = socket.socketpair()
        opened += [ours, theirs]
        lines = theirs.makefile("rb")
        threading.Thread(target=serve, args=(made, lines, theirs.sendall), daemon=True).start()
        asked.connect(ours)
    yield Plugins({"cheapest": router}, {"local": scorer})
    for sock in opened:
        sock.close()
    del sys.modules["netmgr_cheapest_router"]


def test_the_example_router_counts_what_the_call_costs(example: Plugins) -> None:
    file = routing_from_doc(document({"name": "cheapest", "config": {"busy": 2}}))
    generation = Generation(file, 1, None, make_router(file, 1, example))
    long_prompt = generation.context(Request(tokens_in=100_000, tokens_out_max=10))
    long_answer = generation.context(Request(tokens_in=10, tokens_out_max=10_000))
    assert generation.decide(long_prompt).endpoints == ("a", "c", "b")
    assert generation.decide(long_answer).endpoints == ("b", "c", "a")
    busy = HealthBoard(1, {"b": Health(in_flight=2)})
    assert generation.decide(long_answer, busy).endpoints == ("c", "a")


def test_the_example_scorer(example: Plugins) -> None:
    config = {"weights": {"local": 3, "price": 1}}
    file = routing_from_doc(document({"name": "weighted", "config": config}))
    generation = Generation(file, 1, None, make_router(file, 1, example))
    assert generation.decide(generation.context(Request())).endpoints == ("a", "b", "c")


def test_the_example_router_judges_its_config(example: Plugins) -> None:
    doc = document({"name": "cheapest", "config": {"busy": "many"}})
    (problem,) = judge_router(routing_from_doc(doc), example)
    assert "expected a whole number" in problem.message


def test_what_is_not_installed_cannot_be_loaded() -> None:
    with pytest.raises(LookupError, match="is not installed: no entry point"):
        load("router", "no-such")
    with pytest.raises(LookupError):
        load("scorer", "no-such")
