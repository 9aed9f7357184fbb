"""Plug-ins: what they may do is done, what they must not has no effect but a finding."""

import sys
import time
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
from netmgr.routing.plugins import Plugins, make_router
from netmgr.routing.schema import routing_from_doc
from netmgr_proxy.plugins import ORDER_S, PREPARE_S, load_plugins, timer

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
    plugins = Plugins({"mine": router}, timed=timer(ORDER_S), patient=timer(PREPARE_S))
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


def _raise(error: BaseException):
    def act(ids):
        raise error

    return act


def _spin(ids):
    while True:
        pass


def _stubborn(ids):
    while True:
        try:
            time.sleep(5)
        except Exception:
            continue


class Liar(str):
    """A text that says it is another."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return hash("a")


MISDEEDS = {
    "raises": (_raise(RuntimeError("no")), "raised 'RuntimeError: no'"),
    "dies": (_raise(SystemExit(3)), "raised SystemExit"),
    "sleeps": (lambda ids: time.sleep(5), "took too long"),
    "spins": (_spin, "took too long"),
    "is stubborn": (_stubborn, "took too long"),
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


@pytest.mark.parametrize("name", MISDEEDS)
def test_misbehaviour_gives_the_default_order_and_a_finding(name: str) -> None:
    act, finding = MISDEEDS[name]
    begun = time.monotonic()
    (found,) = plan(Router(act))
    assert found.endpoints == ("a", "c")
    assert len(found.findings) == 1
    assert finding in found.findings[0]
    assert "default order" in found.findings[0]
    assert time.monotonic() - begun < 2


def test_who_fails_often_is_asked_less_often() -> None:
    router = Router(_raise(ValueError("x")))
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
def example(monkeypatch: pytest.MonkeyPatch) -> Plugins:
    monkeypatch.syspath_prepend(str(EXAMPLE))
    import netmgr_cheapest_router as package

    yield Plugins({"cheapest": package.CheapestRouter()}, {"local": package.LocalScorer()})
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
    with pytest.raises(PolicyError, match="expected a whole number"):
        make_router(
            routing_from_doc(document({"name": "cheapest", "config": {"busy": "many"}})), 1, example
        )


def test_what_is_not_installed_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    found = load_plugins(["no-such"], ["no-such-scorer"])
    assert not found.routers
    assert not found.scorers
    assert "no-such is not installed" in caplog.text
