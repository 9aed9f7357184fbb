"""Memory over many requests: how many bytes the workers and the main process grow by per request.

    sudo .venv/bin/python tests/bench/bench_soak.py [--quick] [--requests 50000]

Half of the requests go to an endpoint of the policy, half to inference.local, by turns, each turn
over connections of its own. Memory (PSS) is read between the turns; the slope is the least squares'
over all but the first third, in which caches fill. Reports; asserts nothing.
"""

import statistics
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parent))

from bench_tls import POLICY, netmgr_rows
from rig import Options, netmgr_processes, pss_kib, quiet_world, run_wrk, set_inference, upstream

KINDS: Final = ("proxy", "main")
TURNS: Final = 24  # about; enough points for a line
CLIENTS: Final = 16
SETTLE_S: Final = 0.5  # until a turn's connections are closed
PACE_RUN_S: Final = 2  # the first run: it tells how long a turn has to be
WARMING: Final = 1 / 3


@dataclass
class Soak:
    """What was read between the turns.

    Attributes:
        requests: made so far, at each reading.
        memory: KiB of all processes of a kind, at each reading.
    """

    requests: list[int] = field(default_factory=list)
    memory: dict[str, list[int]] = field(default_factory=lambda: {kind: [] for kind in KINDS})

    def read(self, requests: int, processes: dict[str, list[int]]) -> None:
        """One more reading."""
        time.sleep(SETTLE_S)
        self.requests.append(requests)
        for kind in KINDS:
            self.memory[kind].append(pss_kib(processes[kind]))

    def slope(self, kind: str) -> float:
        """Bytes per request, once warm."""
        warm = next(n for n, done in enumerate(self.requests) if done >= self.total * WARMING)
        line = statistics.linear_regression(self.requests[warm:], self.memory[kind][warm:])
        return line.slope * 1024

    @property
    def total(self) -> int:
        """Requests of the whole run."""
        return self.requests[-1]


def soak(wanted: int) -> tuple[Soak, int]:
    """Make at least `wanted` requests; what was read, and how many workers there are."""
    with quiet_world() as world, upstream(world):
        set_inference(world)
        rows = netmgr_rows(world, world.sandbox("bench", POLICY))
        processes = netmgr_processes(world)
        found, made, seconds = Soak(), 0, PACE_RUN_S
        while made < wanted or len(found.requests) < TURNS / 2:
            for row in rows:
                words = (row.place, row.prefix, row.url, row.script)
                done = run_wrk(*words, seconds=seconds, clients=CLIENTS)
                made += done.requests
                if not found.requests:
                    seconds = max(1, round(wanted / TURNS / done.per_second))
            found.read(made, processes)
        if netmgr_processes(world) != processes:
            raise SystemExit("a process was started anew during the run")
        return found, len(processes["proxy"])


def main() -> None:
    """Measure and report."""
    wanted = Options(__doc__).number("requests", 50_000, 4_000, "in all").read().requests
    found, workers = soak(wanted)
    print(
        "| memory | after the first turn KiB | at the end | bytes per request |\n|---|---|---|---|"
    )
    for kind in KINDS:
        readings = found.memory[kind]
        label = f"{workers} proxy workers" if kind == "proxy" else kind
        print(f"| {label} | {readings[0]} | {readings[-1]} | {found.slope(kind):.2f} |")
    print(f"\n{found.total} requests, {len(found.requests)} readings (target: flat)")


if __name__ == "__main__":
    main()
