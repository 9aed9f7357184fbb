"""What a routing decision costs, beside one json.loads of the body that it is about.

    .venv/bin/python tests/bench/bench_routing.py [--quick]

A plan with its context, for 4 to 500 endpoints, decided anew (each request has other facts) and
remembered. Contenders take turns within a round; a ratio is the median over rounds. No root needed.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any, Final

from netmgr.middleware.contract import Finding, StageResult
from netmgr.routing.contract import Request
from netmgr.routing.generation import MAX_MEMO, Generation
from netmgr.routing.schema import routing_from_doc

SIZES: Final = ((4, 3), (20, 20), (100, 50), (500, 200))
TARGETS: Final = {(100, 50): ("2.0", "0.4")}  # decided anew, remembered
BODY: Final = json.dumps(
    {
        "model": "default",
        "messages": [
            {"role": "user" if n % 2 else "assistant", "content": "What is new in this part? " * 12}
            for n in range(28)
        ],
        "temperature": 0.2,
        "stream": True,
    }
).encode()
CALLS: Final = 200  # of one contender in a round
LABELS: Final = ["public", "internal", "confidential", "restricted"]


def document(endpoints: int, rules: int) -> dict[str, Any]:
    """A file in which every rule holds for some request, and every fact matters."""
    regions, operators = ["eu", "us", "ch"], ["self", "processor", "third_party"]
    wheres: list[dict[str, Any]] = [
        {"tenant": {"in": ["acme-eu", "t{n}"]}},
        {"workload": {"tier": ["batch", "t{n}"]}},
        {"requires_local": True},
        {"sensitivity": {"at_least": "confidential"}},
    ]
    requires: list[dict[str, Any]] = [
        {"residency": {"within": ["eu", "ch"]}},
        {"operated_by": ["self", "processor"]},
        {"price_out": {"max": 8}},
        {"context": {"min": 8192}},
    ]
    return {
        "version": 1,
        "sensitivity": {"order": LABELS, "unlabelled": "internal", "unscanned": "restricted"},
        "metadata": {
            "guard": {
                "required": True,
                "promote": {"requires_local": {"key": "local", "type": "bool"}},
                "findings": {"pii": {"raises": "confidential"}},
            }
        },
        "endpoints": {
            f"e{n}": {
                "provider": "p",
                "model": "m",
                "facts": {
                    "residency": [regions[n % 3]],
                    "operated_by": operators[n % 3],
                    "clearance": LABELS[n % 4],
                    "capabilities": ["tools"],
                    "context": 4096 << n % 8,
                    "price": {"in": str(n % 7), "out": str(n % 11)},
                },
            }
            for n in range(endpoints)
        },
        "rules": [
            {
                "id": f"r{n}",
                "when": json.loads(json.dumps(wheres[n % 4]).replace("{n}", str(n))),
                "require": requires[n % 4],
            }
            for n in range(rules)
        ],
        "prefer": [{"by": ["price_out", "latency_p95"]}],
    }


def main(quick: bool) -> None:
    """Print the table."""
    rounds = 5 if quick else 25
    print(f"body: {len(BODY)} bytes; ratios to one json.loads of it\n")
    print("| endpoints / rules | decided anew | remembered | target |\n|---|---|---|---|")
    for size in SIZES:
        anew, remembered = ratios(size, rounds)
        target = " / ".join(TARGETS.get(size, ("",)))
        print(f"| {size[0]} / {size[1]} | {anew:.2f} | {remembered:.2f} | {target} |")


def ratios(size: tuple[int, int], rounds: int) -> tuple[float, float]:
    """Both ratios for one size."""
    generation = Generation(routing_from_doc(document(*size)))
    said = [StageResult("guard", "m", findings=(Finding("pii", "iban"),))]
    tenants = [f"tenant-{n}" for n in range(MAX_MEMO)]
    tiers = {"tier": "batch"}
    turn = 0

    def decide(tenant: str) -> None:
        request = Request("id", "box", tenant, tiers, stream=True, tokens_in=2500)
        generation.decide(generation.context(request, said))

    def anew() -> None:
        nonlocal turn
        turn += 1
        decide(f"{tenants[turn % MAX_MEMO]}-{turn}")

    found = []
    for _ in range(rounds):
        parse = seconds(lambda: json.loads(BODY))
        found.append((seconds(anew) / parse, seconds(lambda: decide("acme-eu")) / parse))
    return statistics.median(a for a, _ in found), statistics.median(b for _, b in found)


def seconds(call: Callable[[], object]) -> float:
    """CPU of one call."""
    begun = time.process_time()
    for _ in range(CALLS):
        call()
    return (time.process_time() - begun) / CALLS


if __name__ == "__main__":
    main("--quick" in sys.argv)
