"""Limits of live sandboxes: exact over all workers, and after a restart."""

import asyncio
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from netmgr.accounts.limits import Measure
from netmgr.daemon.accounts_desk import AccountsDesk
from netmgr.daemon.core import Core
from netmgr.daemon.lifecycle import Lifecycle
from netmgr.daemon.meter import Meter
from netmgr.daemon.sandbox_spec import SandboxSpec
from netmgr.daemon.usage_series import MAX_SERIES, UsageSeries
from netmgr.errors import BadInput, NotFound
from netmgr.process.ipc import PeerRefused

PRICES = "currency: USD\nprices:\n  - {model: m, input: 1, output: 2, cache_read: 0.5}\n"


async def staffed(core: Core) -> tuple[Meter, AccountsDesk]:
    for name in ("a", "b"):
        await Lifecycle(core).create(SandboxSpec.parse({"name": name, "tenant": "t"}))
    return started(core)


def started(core: Core) -> tuple[Meter, AccountsDesk]:
    meter = Meter(core, UsageSeries(CollectorRegistry()))
    meter.restore()
    return meter, AccountsDesk(core, meter)


def question(core: Core, number: int, sandbox: str = "a", **more: Any) -> dict[str, Any]:
    address = str(core.residents[sandbox].row.address)
    plain = {"number": number, "address": address, "provider": "p", "model": "m"}
    return {**plain, "billable": True, **more}


def end(number: int, **tokens: int) -> dict[str, int]:
    kinds = dict.fromkeys(("input", "output", "cache_read", "cache_write"), 0)
    return {"number": number, **kinds, **tokens}


def refused(meter: Meter, holder: str, body: dict[str, Any]) -> PeerRefused:
    with pytest.raises(PeerRefused) as caught:
        meter.reserve(holder, body)
    return caught.value


def test_all_workers_draw_on_one_account(open_core) -> None:
    async def main() -> None:
        async with open_core() as core:
            meter, desk = await staffed(core)
            shown = await desk.set_limits("a", None, {"requests_per_minute": "3"})
            assert shown["limits"] == {"requests_per_minute": 3}
            for number, holder in ((1, "proxy-0"), (1, "proxy-1"), (2, "proxy-0")):
                meter.reserve(holder, question(core, number))
            full = refused(meter, "proxy-1", question(core, 9))
            assert full.code == "limit_exceeded"
            assert 1 <= full.details["retry_after_s"] <= 61
            assert "sandbox a" in full.message
            meter.reserve("proxy-1", question(core, 9, "b"))
            assert core.roster._metered["sandboxes"] == ["a"]

    asyncio.run(main())


def test_a_tenants_sandboxes_share_and_a_worker_that_dies_gives_back(open_core) -> None:
    async def main() -> None:
        async with open_core() as core:
            meter, desk = await staffed(core)
            await desk.set_limits(None, "t", {"concurrency": 2})
            meter.reserve("proxy-0", question(core, 1, "a"))
            meter.reserve("proxy-1", question(core, 1, "b"))
            assert "tenant t" in refused(meter, "proxy-0", question(core, 2, "a")).message
            meter.drop("proxy-1")
            meter.reserve("proxy-0", question(core, 2, "a"))
            meter.settle("proxy-0", end(2))
            meter.settle("proxy-0", end(2))
            meter.reserve("proxy-0", question(core, 3, "a"))
            refused(meter, "proxy-0", question(core, 4, "a"))

    asyncio.run(main())


def test_a_budget_is_spent_by_what_calls_cost_and_outlives_the_daemon(open_core) -> None:
    async def main() -> None:
        async with open_core() as core:
            meter, desk = await staffed(core)
            await desk.set_prices(PRICES, "prices.yaml")
            await desk.set_limits("a", None, {"money_per_day": "0.000005"})
            meter.reserve("proxy-0", question(core, 1))
            meter.settle("proxy-0", end(1, input=1, output=2, cache_read=2))  # 1 + 4 + 1 millionths
            spent = refused(meter, "proxy-0", question(core, 2))
            assert spent.code == "budget_exceeded"
            assert spent.details["final"] is True
            await meter.store()
            subject = (core.resident("a").row.id, None)
        async with open_core() as core:
            meter, desk = started(core)
            assert meter.prices.currency == "USD"
            assert meter.used(subject, Measure.MONEY_DAY) == 6000

    asyncio.run(main())


def test_what_is_free_goes_on_when_everything_is_spent(open_core) -> None:
    async def main() -> None:
        async with open_core() as core:
            meter, desk = await staffed(core)
            spent = {"tokens_per_minute": 0, "tokens_per_day": 0, "requests_per_minute": 2}
            await desk.set_limits("a", None, spent)
            refused(meter, "proxy-0", question(core, 1))
            for number in (2, 3):
                meter.reserve("proxy-0", question(core, number, billable=False))
            fast = refused(meter, "proxy-0", question(core, 4, billable=False))
            assert "2 requests per minute" in fast.message

    asyncio.run(main())


def test_who_answered_instead_is_paid_for(open_core) -> None:
    async def main() -> None:
        async with open_core() as core:
            meter, desk = await staffed(core)
            await desk.set_prices(PRICES, "prices.yaml")
            await desk.set_limits("a", None, {"money_per_day": "1"})
            meter.reserve("proxy-0", question(core, 1))
            subject = (core.resident("a").row.id, None)
            meter.settle("proxy-0", end(1, input=1, output=2) | {"served": ["none", "such"]})
            assert meter.used(subject, Measure.MONEY_DAY) == 0
            with pytest.raises(BadInput):
                meter.settle("proxy-0", end(2) | {"served": ["one"]})

    asyncio.run(main())


def test_what_has_no_price_is_refused_under_a_budget_of_money(open_core) -> None:
    async def main() -> None:
        async with open_core() as core:
            meter, desk = await staffed(core)
            await desk.set_limits(None, None, {"money_per_month": "10"})
            why = refused(meter, "proxy-0", question(core, 1))
            assert why.code == "budget_exceeded"
            assert "no known price" in why.message
            meter.reserve("proxy-0", question(core, 2, billable=False))
            await desk.set_prices(PRICES, "f")
            why = refused(meter, "proxy-0", question(core, 3, tier="priority"))
            assert why.code == "budget_exceeded"
            assert "the tier 'priority' has no known price" in why.message
            meter.reserve("proxy-0", question(core, 3))
            assert await desk.delete_prices() is True
            refused(meter, "proxy-0", question(core, 4))

    asyncio.run(main())


def record(**more: Any) -> dict[str, Any]:
    call = {"provider": "p", "model": "m", "attempts": 1, "tokens_in": 10, "tokens_out": 5}
    call |= {"tokens_cache_read": 4, "tokens_cache_write": 0, "ttfb_ms": 120}
    plain = {"time": 1_780_000_000.0, "sandbox": "a", "tenant": "t", "kind": "inference"}
    plain |= {"verdict": "allowed", "count": 1, "duration_ms": 300}
    return {**plain, "inference": {**call, **more.pop("inference", {})}, **more}


def test_usage_is_added_up_and_an_unknown_cost_is_not_nothing(open_core) -> None:
    async def main() -> None:
        async with open_core() as core:
            meter, desk = await staffed(core)
            await desk.set_prices(PRICES, "f")
            told = record()
            meter.take(told)
            assert told["inference"]["cost"] == "0.000018"
            await meter.store()
            meter.take(record(inference={"model": "x"}))
            meter.take(record(inference={"model": "y", "tokens_in": None, "tokens_out": None}))
            meter.take(record(verdict="failed", inference={"tokens_in": None, "tokens_out": None}))
            meter.take(record(inference={"attempts": 0}))  # never sent
            meter.take(record(kind="http"))
            shown = await desk.usage("model", since=0)
            by_model = {row["model"]: row for row in shown["usage"]}
            assert by_model["m"]["calls"] == 2
            assert by_model["m"]["failed"] == 1
            assert by_model["m"]["cost"] == "0.000018"
            assert (by_model["x"]["cost"], by_model["x"]["unpriced"]) == (None, 1)
            assert (by_model["y"]["cost"], by_model["y"]["uncounted"]) == (None, 1)
            (by_hour,) = (await desk.usage("hour", since=0, sandbox="a"))["usage"]
            assert by_hour["tokens_in"] == 20
            assert (await desk.usage("day", since=0, tenant="other"))["usage"] == []
            with pytest.raises(BadInput, match="did you mean"):
                await desk.usage("modell")

    asyncio.run(main())


def test_who_is_gone_has_no_account(open_core) -> None:
    async def main() -> None:
        async with open_core() as core:
            meter, desk = await staffed(core)
            await desk.set_limits("a", None, {"requests_per_minute": 9})
            meter.reserve("proxy-0", question(core, 1))
            await meter.store()
            await Lifecycle(core).delete("a")
            meter._forget_the_dead()
            await meter.store()
            assert core.store.accounts.used() == []
            assert core.store.accounts.limits() == {}
            assert meter.limits == {}
            with pytest.raises(NotFound):
                await desk.set_limits("a", None, {"concurrency": 1})
            with pytest.raises(BadInput, match="not for both"):
                await desk.set_limits("b", "t", {"concurrency": 1})

    asyncio.run(main())


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"number": -1},
        {"number": True},
        {"number": 1, "input": 10**13, "output": 0, "cache_read": 0, "cache_write": 0},
    ],
)
def test_what_no_honest_worker_tells(open_core, body: dict[str, Any]) -> None:
    async def main() -> None:
        async with open_core() as core:
            meter, _ = started(core)
            with pytest.raises(BadInput):
                meter.settle("proxy-0", body)

    asyncio.run(main())


def test_a_name_that_a_program_chose_may_be_anything(open_core) -> None:
    async def main() -> None:
        async with open_core() as core:
            meter, desk = await staffed(core)
            await desk.set_prices(PRICES.replace("model: m", 'model: "*"'), "f")
            for number in range(3):
                meter.take(record(inference={"model": f"{number}" * 60_000}))
            (row,) = (await desk.usage("model", since=0))["usage"]
            assert (row["model"], row["calls"]) == ("(other)", 3)
            await desk.set_limits("a", None, {"money_per_day": 5})
            meter.reserve("proxy-0", question(core, 1, model="x" * 1_000_000))
            assert max(len(model) for _, model in meter._priced) <= 256

    asyncio.run(main())


def test_series_are_bounded_whatever_sandboxes_ask_for() -> None:
    registry = CollectorRegistry()
    series = UsageSeries(registry)
    for number in range(MAX_SERIES + 500):
        series.count(record(inference={"model": f"m{number}"}, sandbox=f"s{number % 50}"), 5)
    page = generate_latest(registry).decode()
    assert page.count("\n") < 5 * MAX_SERIES
    series.keep_only(frozenset({"other"}))
    assert 'sandbox="s1"' not in generate_latest(registry).decode()
