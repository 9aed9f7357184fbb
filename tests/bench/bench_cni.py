"""CNI: one ADD and one DEL through our plugin, beside the reference bridge with its firewall.

    sudo .venv/bin/python tests/bench/bench_cni.py [--rounds 40]

Each contender gets a bare namespace and is executed as libcni does it: one process per plugin of
the chain, results handed on. Contenders take turns. The target: ours at most the time of bridge
with firewall (Debian's containernetworking-plugins). Two rows show what the shim saves: a bare
start of the interpreter, and the same plugin through the whole command line. Reports; asserts
nothing.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from world import World
from world.namespaces import Namespace

from netmgr_cli.programs import interpreter

PLUGINS = Path("/usr/lib/cni")
VERSION = "1.0.0"


class Chain:
    """The plugins of one network, called one after the other."""

    def __init__(self, host: Namespace, name: str, plugins: list[tuple[list[str], Any]]) -> None:
        self._host = host
        self._name = name
        self._plugins = plugins

    def _call(self, argv: list[str], command: str, where: Path, config: Any) -> Any:
        env = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": where.name,
            "CNI_NETNS": str(where),
            "CNI_IFNAME": "eth0",
            "CNI_PATH": str(PLUGINS),
            "PATH": os.environ["PATH"],
        }
        done = subprocess.run(
            self._host.command(*argv), input=json.dumps(config), text=True, env=env,
            capture_output=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
        return json.loads(done.stdout) if done.stdout.strip() else None

    def add(self, where: Path) -> None:
        """ADD, in order."""
        self.result = None
        for argv, config in self._plugins:
            self.result = self._call(argv, "ADD", where, self._config(config))

    def delete(self, where: Path) -> None:
        """DEL, backwards."""
        for argv, config in reversed(self._plugins):
            self._call(argv, "DEL", where, self._config(config))

    def _config(self, config: Any) -> Any:
        whole = {"cniVersion": VERSION, "name": self._name, **config}
        return whole | ({"prevResult": self.result} if self.result else {})


def timed(act: Callable[[], object]) -> float:
    """Milliseconds of one call."""
    began = time.perf_counter()
    act()
    return (time.perf_counter() - began) * 1000


def row(what: str, values: list[float], peer: list[float] | None = None) -> str:
    """Median, 95th percentile, and the median of the ratios within each round."""
    ordered = sorted(values)
    p95 = ordered[int(len(ordered) * 0.95)]
    ratio = statistics.median(a / b for a, b in zip(values, peer, strict=True)) if peer else 1.0
    return f"| {what} | {statistics.median(values):.1f} | {p95:.1f} | {ratio:.2f} |"


def contenders(world: World, data: str) -> dict[str, Chain]:
    """Ours, the reference, and ours without the shim."""
    program = world.directory / "netmgr"
    hooks = str(world.directory / "hooks")  # the guard is not for this machine's own podman
    where = ("--bin-dir", str(world.directory), "--hooks-dir", hooks)
    installed = world.netmgr("cni", "install", *where)
    assert installed.returncode == 0, installed.stderr
    ours = {"type": "netmgr", "socket": str(world.netmgrd.socket), "allow": ["api.example.com"]}
    ipam = {"type": "host-local", "subnet": "10.99.0.0/16", "dataDir": data}
    bridge = {"type": "bridge", "bridge": "cni9", "isGateway": True, "ipam": ipam}
    firewall = {"type": "firewall", "backend": "iptables"}
    whole = [sys.executable, "-I", "-m", "netmgr_cli", "cni"]
    reference = [([str(PLUGINS / "bridge")], bridge), ([str(PLUGINS / "firewall")], firewall)]
    return {
        "netmgr": Chain(world.host, "ours", [([str(program)], ours)]),
        "bridge + firewall": Chain(world.host, "reference", reference),
        "netmgr, whole command line": Chain(world.host, "whole", [(whole, ours)]),
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=40)
    rounds = parser.parse_args().rounds
    with World() as world, tempfile.TemporaryDirectory() as data:
        world.daemon()
        found = contenders(world, data)
        added: dict[str, list[float]] = {name: [] for name in found}
        deleted: dict[str, list[float]] = {name: [] for name in found}
        starts = []
        for number in range(rounds + 2):
            for name, chain in found.items():
                where = Namespace(f"{world.id}.b{number}{name[:1]}{len(name)}")
                subprocess.run(["ip", "netns", "add", where.name], check=True)
                try:
                    adding = timed(lambda c=chain, w=where: c.add(w.path))
                    deleting = timed(lambda c=chain, w=where: c.delete(w.path))
                finally:
                    where.delete()
                if number >= 2:  # the first ones warm caches and make the bridge
                    added[name].append(adding)
                    deleted[name].append(deleting)
            bare = world.host.command(str(interpreter()), "-IS", "-c", "pass")
            starts.append(timed(lambda b=bare: subprocess.run(b, check=True)))
    print("| ms | median | p95 | of bridge + firewall |\n|---|---|---|---|")
    for verb, values in (("ADD", added), ("DEL", deleted)):
        peer = values["bridge + firewall"]
        for name, times in values.items():
            print(row(f"{verb}: {name}", times, peer))
    print(row("a bare start of the interpreter", starts))


if __name__ == "__main__":
    main()
