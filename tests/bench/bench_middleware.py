"""What netmgr's own middlewares cost for one body, beside detect-secrets alone.

The target is below 5 ms of CPU for 10 kB.

    .venv/bin/python tests/bench/bench_middleware.py [--quick] [--rounds 40]

A chat of prose and code, 10 kB and 4 MiB; the same in one long line, which is where detect-secrets
alone is slow. Pure CPU, no network. Reports; asserts nothing.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Final

from detect_secrets.core.scan import scan_line
from detect_secrets.settings import default_settings

from netmgr.middleware.chain import Stage
from netmgr.middleware.request import Phase, StageRequest
from netmgr_proxy.scan.built_in import run_built_in

TEXT: Final = (
    "The function returns self.value at 2024-01-01T12:00:00Z, order 1234567890123, from "
    "192.0.2.1:8080; commit da39a3ee5e6b4b0d3255bfef95601890afd80709 says 'it is done'.\n"
)
STAGES: Final = ("netmgr/secrets", "netmgr/pii", "netmgr/redact", "netmgr/tagger")


def body_of(size: int) -> bytes:
    """A model call of about that size; JSON makes one line of it."""
    turns = [{"role": "user", "content": TEXT * 8}] * (size // (len(TEXT) * 8) + 1)
    return json.dumps({"model": "m", "messages": turns}).encode()


def cost_ms(call: Callable[[], object], rounds: int) -> float:
    """The median of some rounds, CPU only."""
    call()
    spent = []
    for _ in range(rounds):
        began = time.process_time()
        call()
        spent.append(time.process_time() - began)
    return statistics.median(spent) * 1000


def main() -> None:
    """The table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int, default=40)
    options = parser.parse_args()
    rounds = 5 if options.quick else options.rounds
    small, large = body_of(10_000), body_of(4 * 1024 * 1024 - 20_000)
    print("| stage | 10 kB | 4 MiB |\n|---|---|---|")
    for name in STAGES:
        stage = Stage("k", "k", name)
        times = [
            cost_ms(lambda body=body, stage=stage: run_built_in(stage, ask(body)), many)
            for body, many in ((small, rounds), (large, max(rounds // 8, 2)))
        ]
        print(f"| {name} | {times[0]:.2f} ms | {times[1]:.0f} ms |", flush=True)
    with default_settings():
        line = small.decode()
        alone = cost_ms(lambda: list(scan_line(line)), max(rounds // 8, 2))
    print(f"| detect-secrets alone, every plug-in | {alone:.1f} ms | |")


def ask(body: bytes) -> StageRequest:
    """A request with this body."""
    headers = (("content-type", "application/json"),)
    return StageRequest(Phase.INFERENCE, "s", None, {}, "h", 443, "POST", "/", headers, body)


if __name__ == "__main__":
    main()
