"""Whose a connection is: time of one look-up in the daemon, with many processes on the host.

A namespace of its own with a few processes, and hundreds outside of it. Questions are timed:
nothing is known yet; a new process connects; the process that connected last connects again, once
and time after time (a program at work: what the kernel needs for an answer is in the caches). The
look-up is the daemon's own code on one thread, without the message from the proxy. Reports; asserts
nothing. CPU time of the thread is told: on a busy machine the clock tells of others.

    sudo .venv/bin/python tests/bench/bench_identity.py [--processes 500] [--rounds 200]

Needs root. Targets: under 1 ms at the median, under 50 us where the same process connects again.
"""

import argparse
import os
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path
from typing import Final

from netmgr.kernel import netns as netns_calls
from netmgr.kernel.facts import Flow, Netns, Owners, Wants
from netmgr.kernel.identify import Identifier
from netmgr.model import SandboxName

HOME: Final = IPv4Address("127.0.0.1")
WANTS: Final = Wants(links=("/usr/bin/python3", "/usr/bin/curl"))
AT_WORK: Final = 10  # connections of one program in a row
# A client that connects each time that it reads a line, and keeps what it opened before open.
CLIENT: Final = """
import socket, sys
held = []
for line in sys.stdin:
    held.append(socket.create_connection(("127.0.0.1", int(line))))
    if len(held) > 8:
        held.pop(0).close()
    print(held[-1].getsockname()[1], flush=True)
"""


@contextmanager
def namespace() -> Iterator[Netns]:
    """A network namespace with lo up."""
    name = f"bench-identity-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
        path = Path("/run/netns") / name
        fd = os.open(path, os.O_RDONLY)
        identity = netns_calls.identity(fd)
        os.close(fd)
        yield Netns(SandboxName("bench"), path, identity)
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)


@contextmanager
def crowd(count: int, *prefix: str) -> Iterator[None]:
    """That many processes that only wait."""
    started = [
        subprocess.Popen([*prefix, "sleep", "600"], stdout=subprocess.DEVNULL) for _ in range(count)
    ]
    try:
        yield
    finally:
        for process in started:
            process.kill()
        for process in started:
            process.wait()


def listen(where: Netns) -> socket.socket:
    """A server in the namespace that accepts for ever."""
    fd = os.open(where.path, os.O_RDONLY)
    with netns_calls.entered(fd):
        server = socket.create_server((str(HOME), 0), backlog=512)
    os.close(fd)
    held: list[socket.socket] = []

    def accept() -> None:
        while True:
            try:
                held.append(server.accept()[0])
            except OSError:
                return

    threading.Thread(target=accept, daemon=True).start()
    return server


class Client:
    """A process in the namespace."""

    def __init__(self, where: Netns, port: int) -> None:
        self._port = port
        self._process = subprocess.Popen(
            ["ip", "netns", "exec", where.path.name, "/usr/bin/python3", "-u", "-c", CLIENT],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def connect(self) -> Flow:
        """Open a further connection."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{self._port}\n")
        self._process.stdin.flush()
        return Flow(HOME, int(self._process.stdout.readline()), HOME, self._port)

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def timed(ask: Callable[[], Owners]) -> float:
    """Microseconds of one look-up, which must find somebody."""
    began = time.thread_time()
    found = ask()
    took = (time.thread_time() - began) * 1e6
    assert found.processes, "nobody was found"
    return took


def look_up(identifier: Identifier, where: Netns, flow: Flow) -> Owners:
    """As the daemon asks: at once where that is possible (netmgr/daemon/identity.py)."""
    at_once = identifier.owners_again(where, flow, WANTS)
    return at_once if at_once is not None else identifier.owners(where, flow, WANTS)


def measure(where: Netns, rounds: int) -> dict[str, list[float]]:
    """The questions, in turns."""
    identifier = Identifier()
    server = listen(where)
    port = server.getsockname()[1]
    results: dict[str, list[float]] = {"nothing known": [], "a new process": [], "the same": []}
    often: list[float] = results.setdefault("the same, time after time", [])
    for _ in range(rounds):
        client = Client(where, port)
        flow = client.connect()
        results["a new process"].append(timed(partial(look_up, identifier, where, flow)))
        flow = client.connect()
        results["the same"].append(timed(partial(look_up, identifier, where, flow)))
        for _ in range(AT_WORK):
            flow = client.connect()
            often.append(timed(partial(look_up, identifier, where, flow)))
        identifier.forget(where.identity)
        flow = client.connect()
        results["nothing known"].append(timed(partial(look_up, identifier, where, flow)))
        client.close()
    server.close()
    identifier.close()
    return results


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--processes", type=int, default=500)
    parser.add_argument("--inside", type=int, default=3, help="further processes in the sandbox")
    parser.add_argument("--rounds", type=int, default=200)
    options = parser.parse_args()
    with ExitStack() as stack:
        where = stack.enter_context(namespace())
        stack.enter_context(crowd(options.processes))
        stack.enter_context(crowd(options.inside, "ip", "netns", "exec", where.path.name))
        time.sleep(0.5)
        results = measure(where, options.rounds)
    crowds = f"{options.processes} processes, {options.inside + 1} inside"
    print(f"| {crowds} | 10 % us | median us | 90 % us |")
    print("|---|---:|---:|---:|")
    for what, values in results.items():
        tenths = statistics.quantiles(values, n=10)
        print(f"| {what} | {tenths[0]:.0f} | {tenths[4]:.0f} | {tenths[-1]:.0f} |")


if __name__ == "__main__":
    sys.exit(main())
