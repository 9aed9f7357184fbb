"""What a policy's size costs per decision, how long it loads, what REST rules cost per request.

    sudo .venv/bin/python tests/bench/bench_policy.py [--quick] [--seconds 5] [--rounds 5]

Decisions are asked of the object that every room asks, in turns over 64 of the policy's names.
Requests go through a daemon, each with another path, so that each is judged: on an endpoint with
`access: full`, and on one with forty rules of which the last allows. Asserts nothing.
"""

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parent))

from rig import (
    NAME,
    Options,
    cpu_seconds,
    netmgr_processes,
    private_address,
    quiet_world,
    run_wrk,
    upstream,
    with_hosts,
)
from world import World
from world.sandbox import Sandbox

from netmgr.policy.decision import Request, Target
from netmgr.policy.policy import Policy

SIZES: Final = (1, 100, 10_000)
ASKED: Final = 64  # names in turn: as many as a sandbox's programs use
REPEATS: Final = 200
WRK_SCRIPT: Final = """
local n = 0
request = function()
  n = n + 1
  return wrk.format("GET", "/v2/items/" .. n .. "?page=" .. n % 7)
end
function done(summary, latency, requests)
  local e = summary.errors
  local bad = e.connect + e.read + e.write + e.timeout + e.status
  io.write(string.format("RESULT %d %d %d\\n", summary.requests, summary.duration, bad))
end
"""
RULES: Final = "\n".join(
    [f"          - allow: {{method: GET, path: '/v1/part{n}/**'}}" for n in range(39)]
    + ["          - allow: {method: GET, path: '/v2/*/*'}"]
)
POLICY: Final = """
version: 1
network_policies:
  bench:
    endpoints:
      - host: {host}
        port: 443
        protocol: rest
        {traits}
    binaries: [{{path: "/**"}}]
"""
FULL: Final = "access: full"
DETAILED: Final = f"""rules:
{RULES}
        deny_rules:
          - {{method: "*", path: "/v1/secret/**"}}
          - {{method: "*", path: "/**", query: {{admin: "true"}}}}"""


# -- decisions -----------------------------------------------------------------------------


def document(size: int, host: str) -> dict[str, Any]:
    """A policy with `size` endpoints, each on a host of its own, with three rules."""
    rules = [{"allow": {"method": "GET", "path": f"/v{number}/**"}} for number in range(3)]
    endpoints = [
        {"host": host.format(n=n), "port": 443, "protocol": "rest", "rules": rules}
        for n in range(size)
    ]
    entry = {"endpoints": endpoints, "binaries": [{"path": "/**"}]}
    return {"version": 1, "network_policies": {"bench": entry}}


def microseconds(ask: Callable[[Target], object], targets: Sequence[Target]) -> float:
    """CPU of one decision: the best of five turns."""
    best = float("inf")
    for _ in range(5):
        began = time.process_time()
        for _ in range(REPEATS):
            for target in targets:
                ask(target)
        best = min(best, time.process_time() - began)
    return best / REPEATS / len(targets) * 1e6


def decide(kind: str, host: str, name: str) -> None:
    """One block of the table: every size, and the ratio of the largest to the smallest."""
    first: list[float] = []
    for size in SIZES:
        doc = document(size, host)
        began = time.process_time()
        policy = Policy.from_doc(doc)
        load = time.process_time() - began
        step = max(1, size // ASKED)
        targets = [Target(name.format(n=n * step % size), None, 443) for n in range(ASKED)]
        costs = decisions(policy, targets)
        first = first or costs
        ratio = max(cost / least for cost, least in zip(costs, first, strict=True))
        cells = " | ".join(f"{cost:.2f}" for cost in costs)
        print(f"| {kind}, {size} | {cells} | {ratio:.2f} | {load * 1000:.0f} |")


def decisions(policy: Policy, targets: Sequence[Target]) -> list[float]:
    """Name, connection, request."""
    request = Request("GET", "/v2/items/7")
    return [
        microseconds(lambda target: policy.judge_name(target.name or ""), targets),
        microseconds(policy.judge_connection, targets),
        microseconds(lambda target: policy.judge_request(target, request), targets),
    ]


# -- requests through a daemon -------------------------------------------------------------


def request_cost(world: World, sandbox: Sandbox, seconds: int) -> float:
    """CPU of all proxy workers per request, in microseconds."""
    prefix = with_hosts(world, {NAME: private_address(sandbox, NAME)}, [])
    script = world.directory / "paths.lua"
    script.write_text(WRK_SCRIPT)
    workers = netmgr_processes(world)["proxy"]
    before = cpu_seconds(workers)
    load = run_wrk(
        sandbox.namespace, prefix, f"https://{NAME}/", script, seconds=seconds, clients=16
    )
    return (cpu_seconds(workers) - before) / load.requests * 1e6


def main() -> None:
    """Measure and report."""
    asked = (
        Options(__doc__)
        .number("seconds", 5, 1, "of each run of requests")
        .number("rounds", 5, 1, "of both endpoints")
        .read()
    )
    print("| endpoints | name µs | connection µs | request µs | ratio | load ms |")
    print("|---|---|---|---|---|---|")
    decide("exact", "h{n}.example.com", "h{n}.example.com")
    decide("wildcard", "*.h{n}.example.com", "a.h{n}.example.com")
    costs: dict[str, list[float]] = {"full": [], "rules": []}
    with ExitStack() as stack:
        world = stack.enter_context(quiet_world())
        stack.enter_context(upstream(world))
        sandboxes = {
            "full": world.sandbox("full", POLICY.format(host=NAME, traits=FULL)),
            "rules": world.sandbox("rules", POLICY.format(host=NAME, traits=DETAILED)),
        }
        for sandbox in sandboxes.values():
            request_cost(world, sandbox, 1)
        for _ in range(asked.rounds):
            for label, sandbox in sandboxes.items():
                costs[label].append(request_cost(world, sandbox, asked.seconds))
    print("\n| one request, CPU of the proxy workers | median µs | min | max |\n|---|---|---|---|")
    for label, found in costs.items():
        print(f"| {label} | {statistics.median(found):.1f} | {min(found):.1f} | {max(found):.1f} |")
    ratio = statistics.median(r / f for r, f in zip(costs["rules"], costs["full"], strict=True))
    print(f"\nforty rules : access full = {ratio:.3g} (target: 1.4 at most)")


if __name__ == "__main__":
    main()
