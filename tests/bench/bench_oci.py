"""OCI runtimes: our share of `runc run` and of `podman run`, and what verbs pay that are not ours.

    sudo .venv/bin/python tests/bench/bench_oci.py [--samples 30]

Contenders take turns: the runtime alone (a network namespace without any link), the same behind
netmgr-runc, and the same with netmgr-hook at createRuntime and poststop. The container runs `true`
and is gone: so a sample holds a sandbox's whole life. Reports; asserts nothing.
"""

import argparse
import json
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).parents[1]))

from runtimes.machine import Machine
from runtimes.podman import IMAGE, Podman, box_tree
from runtimes.site import HOOK, RUNTIME
from world import World

RUNC: Final = "/usr/sbin/runc"
Contenders = dict[str, Callable[[], None]]


def bundle(machine: Machine, name: str, *, hooked: bool) -> str:
    """A bundle whose container does nothing."""
    place = machine.own / name
    place.mkdir()
    machine.must(RUNC, "spec", "--bundle", str(place))
    config = json.loads((place / "config.json").read_text())
    config["root"] = {"path": str(box_tree(machine.own)), "readonly": True}
    config["process"] |= {"terminal": False, "args": ["/bin/busybox", "true"]}
    if hooked:
        config["hooks"] = {"createRuntime": [{"path": HOOK}], "poststop": [{"path": HOOK}]}
    (place / "config.json").write_text(json.dumps(config))
    return str(place)


def contenders(machine: Machine) -> tuple[Contenders, Contenders, Contenders]:
    """By what they are compared in: runc's runs, podman's runs, a verb that makes no process."""
    plain = bundle(machine, "plain", hooked=False)
    hooked = bundle(machine, "hooked", hooked=True)
    (machine.own / "wrapped").mkdir()
    source, wrapped = Path(plain, "config.json"), machine.own / "wrapped"

    def wrap() -> None:
        (wrapped / "config.json").write_bytes(source.read_bytes())  # as an engine writes it
        machine.must(RUNTIME, "run", "--bundle", str(wrapped), "wrapped")

    def podman(*words: str) -> Callable[[], None]:
        command = ("podman", *words, "run", "--rm", "--network", "none", IMAGE, "id")
        return lambda: _ignore(machine.must(*command))

    def run(runtime: str, *words: str) -> Callable[[], None]:
        return lambda: _ignore(machine.must(runtime, *words))

    return (
        {
            "runc": run(RUNC, "run", "--bundle", plain, "plain"),
            "netmgr-runc": wrap,
            "runc with netmgr-hook": run(RUNC, "run", "--bundle", hooked, "hooked"),
        },
        {"podman": podman(), "podman with netmgr-runc": podman("--runtime", RUNTIME)},
        {
            "runc --version": run(RUNC, "--version"),
            "netmgr-runc --version": run(RUNTIME, "--version"),
        },
    )


def _ignore(_: object) -> None:
    pass


def cpu_s() -> float:
    """Seconds of the processor that our children have had, and theirs that they waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure(found: Contenders, samples: int) -> None:
    """One table: median milliseconds, what is added to the first contender's, and the engine's own
    time of a processor (not the daemon's), which a busy machine hardly changes."""
    times: dict[str, list[float]] = {name: [] for name in found}
    busy: dict[str, list[float]] = {name: [] for name in found}
    for act in found.values():
        act()  # once unmeasured: caches of files and of bytecode
    for _ in range(samples):
        for name, act in found.items():
            began, used = time.perf_counter(), cpu_s()
            act()
            times[name].append((time.perf_counter() - began) * 1000)
            busy[name].append((cpu_s() - used) * 1000)
    base = next(iter(times.values()))
    print("| | ms, median | added, median of the rounds | processor, ms |\n|---|---|---|---|")
    for name, values in times.items():
        added = statistics.median(b - a for a, b in zip(base, values, strict=True))
        used = statistics.median(busy[name])
        print(f"| {name} | {statistics.median(values):.1f} | {added:+.1f} | {used:.1f} |")
    print()


def main() -> None:
    """Print the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=30)
    given = parser.parse_args()
    with World() as world:
        world.daemon()
        with Machine(world) as machine:
            machine.must("netmgr", "oci", "install", "--runtime", RUNC)
            engine = Podman(machine)
            for found in contenders(machine):
                measure(found, given.samples)
            engine.remove_all()


if __name__ == "__main__":
    main()
