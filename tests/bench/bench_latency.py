"""What netmgr adds to one model call: one kept-alive connection, one request after the other.

    sudo .venv/bin/python tests/bench/bench_latency.py [--quick] [--calls 2000] [--rounds 7]

"inside" asks https://inference.local from a sandbox, "limited" the same with a limit set, so that
each call asks the ledger first; "direct" asks the same provider from the host's namespace with the
key. Same client, same body, in turns. Reports; asserts nothing.
"""

import json
import socket
import ssl
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parent))

from rig import (
    MODEL_NAME,
    QUESTION,
    RUN_DEADLINE_S,
    Options,
    private_address,
    quiet_world,
    set_inference,
    upstream,
)
from world.environment import clean_environment
from world.namespaces import Namespace
from world.world import World

DEADLINE_S: Final = 20.0
WARM_CALLS: Final = 50
POLICY: Final = "version: 1\nnetwork_policies: {}\n"


def call(address: str, name: str, ca: str, count: int, port: int, key: str) -> None:
    """Runs inside: `count` calls; prints microseconds of each."""
    context = ssl.create_default_context(cafile=ca)
    body = QUESTION.encode()
    request = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: {name}\r\n"
        f"Content-Type: application/json\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body
    raw = socket.create_connection((address, port), DEADLINE_S)
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    took = []
    with context.wrap_socket(raw, server_hostname=name) as connection:
        for _ in range(WARM_CALLS + count):
            began = time.perf_counter()
            connection.sendall(request)
            read_answer(connection)
            took.append((time.perf_counter() - began) * 1e6)
    print(json.dumps(took[WARM_CALLS:]))


def read_answer(connection: ssl.SSLSocket) -> None:
    """One response with a Content-Length, to its last byte."""
    data = b""
    while b"\r\n\r\n" not in data:
        got = connection.recv(65536)
        if not got:
            raise SystemExit("the connection was closed")
        data += got
    head, _, rest = data.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise SystemExit(data.decode(errors="replace"))
    fields = dict(line.lower().split(b":", 1) for line in head.split(b"\r\n")[1:])
    left = int(fields[b"content-length"]) - len(rest)
    while left:
        left -= len(connection.recv(65536))


def run(
    place: Namespace,
    address: str,
    name: str,
    ca: str,
    count: int,
    *,
    port: int = 443,
    key: str = "unused",
) -> list[float]:
    """Microseconds of each call of one turn, from `place`."""
    script = str(Path(__file__).resolve())
    words = [address, name, ca, str(count), str(port), key]
    done = subprocess.run(
        place.command(sys.executable, script, "--call", *words),
        text=True,
        capture_output=True,
        timeout=RUN_DEADLINE_S,
        env=clean_environment(),
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{name}: {done.stderr}")
    found: list[float] = json.loads(done.stdout)
    return found


def set_limit(world: World, concurrency: str) -> None:
    """The sandbox's limit from now on; with `none`, its calls ask nobody."""
    words = ("--sandbox", "bench", "--concurrency", concurrency)
    if concurrency == "none":
        done = world.netmgr("inference", "limit", "delete", "--sandbox", "bench")
    else:
        done = world.netmgr("inference", "limit", "set", *words)
    if done.returncode:
        raise SystemExit(done.stderr)


def measure() -> None:
    """Take turns and report."""
    asked = (
        Options(__doc__)
        .number("calls", 2000, 300, "of each turn")
        .number("rounds", 7, 2, "turns of each")
        .read()
    )
    turns: dict[str, list[list[float]]] = {"direct": [], "inside": [], "limited": []}
    with ExitStack() as stack:
        world = stack.enter_context(quiet_world())
        origin = stack.enter_context(upstream(world))
        set_inference(world)
        sandbox = world.sandbox("bench", POLICY)
        inside = private_address(sandbox, "inference.local")
        ca = sandbox.facts["run_dir"] + "/ca.pem"
        root = str(world.authority.root_file)
        for _ in range(asked.rounds):
            turns["direct"].append(run(world.host, origin, MODEL_NAME, root, asked.calls))
            for label, limits in (("inside", "none"), ("limited", "1000000")):
                set_limit(world, limits)
                turns[label].append(
                    run(sandbox.namespace, inside, "inference.local", ca, asked.calls)
                )
    print("| one model call | median µs | p95 | p99 |\n|---|---|---|---|")
    rows = (
        ("direct", "the provider, directly"),
        ("inside", "inference.local"),
        ("limited", "the same, of a sandbox with limits"),
    )
    for label, name in rows:
        cuts = statistics.quantiles([t for turn in turns[label] for t in turn], n=100)
        print(f"| {name} | {cuts[49]:.0f} | {cuts[94]:.0f} | {cuts[98]:.0f} |")
    pairs = zip(turns["inside"], turns["direct"], strict=True)
    added = statistics.median(statistics.median(a) - statistics.median(b) for a, b in pairs)
    print(f"\nadded latency, median: {added / 1000:.3f} ms (target: under 0.4)")


def main() -> None:
    """Measure, or be the client."""
    if sys.argv[1:2] == ["--call"]:
        address, name, ca, count, port, key = sys.argv[2:]
        call(address, name, ca, int(count), int(port), key)
    else:
        measure()


if __name__ == "__main__":
    main()
