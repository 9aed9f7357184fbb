"""TLS-terminated small POST: CPU per request of our workers, nginx and mitmproxy; idle memory.

    sudo .venv/bin/python tests/bench/bench_tls.py [--quick] [--seconds 6] [--rounds 5]

One upstream (nginx, TLS, verified, pooled), one client (wrk, keep-alive, 1 KB JSON each way), the
proxies one after the other in several rounds. nginx writes its access log, as we write records.
mitmproxy (reverse mode) is installed by pip below `.cache` at the first run. Then the workers'
memory with many idle terminated connections. Reports; asserts nothing.
"""

import json
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parent))

from rig import (
    ANSWER,
    HERE,
    NAME,
    PROXY_ADDRESS,
    QUESTION,
    Load,
    Options,
    client_namespace,
    cpu_seconds,
    family,
    netmgr_processes,
    nginx_command,
    post_script,
    private_address,
    pss_kib,
    quiet_world,
    run_wrk,
    set_inference,
    started,
    upstream,
    with_hosts,
)
from world import World
from world.environment import clean_environment
from world.namespaces import Namespace
from world.sandbox import Sandbox

WARM_S: Final = 3  # on a busy machine mitmproxy answers nothing in its first second
MITMPROXY: Final = "mitmproxy==11.0.2"
MITMPROXY_HOME: Final = HERE.parents[1] / ".cache" / "mitmproxy"
INSTALL_DEADLINE_S: Final = 300.0
MITMPROXY_PORT: Final = 8443
POLICY: Final = f"""
version: 1
network_policies:
  bench:
    endpoints: [{{host: {NAME}, port: 443, protocol: rest, access: full, enforcement: enforce}}]
    binaries: [{{path: "/**"}}]
"""


@dataclass(slots=True)
class Contender:
    """One row: who is loaded from where, and whose CPU is counted.

    Attributes:
        processes: groups of process ids; the first group is the proxy itself.
    """

    name: str
    place: Namespace
    prefix: list[str]
    url: str
    script: Path
    processes: dict[str, list[int]]
    rates: list[float] = field(default_factory=list)
    costs: dict[str, list[float]] = field(default_factory=dict)

    def load(self, seconds: int, clients: int) -> None:
        """One run, noted."""
        before = {group: cpu_seconds(pids) for group, pids in self.processes.items()}
        load = self._run(seconds, clients)
        self.rates.append(load.per_second)
        for group, pids in self.processes.items():
            used = (cpu_seconds(pids) - before[group]) / load.requests * 1e6
            self.costs.setdefault(group, []).append(used)

    def warm(self, clients: int) -> None:
        """What does not count: connections, certificates, caches."""
        self._run(WARM_S, clients)

    def cost(self, group: str | None = None) -> float:
        """Median CPU per request, in microseconds."""
        return statistics.median(self.costs[group or next(iter(self.processes))])

    def _run(self, seconds: int, clients: int) -> Load:
        return run_wrk(
            self.place, self.prefix, self.url, self.script, seconds=seconds, clients=clients
        )


# -- the contenders ------------------------------------------------------------------------


def netmgr_rows(world: World, sandbox: Sandbox) -> list[Contender]:
    """Our two: an endpoint of the policy, and inference.local."""
    kinds = netmgr_processes(world)
    groups = {kind: kinds[kind] for kind in ("proxy", "main", "dialer")}
    rows = []
    for label, host, path, body in (
        ("netmgr, rest endpoint", NAME, "/v1/items", ANSWER),
        ("netmgr, inference.local", "inference.local", "/v1/chat/completions", QUESTION),
    ):
        prefix = with_hosts(world, {host: private_address(sandbox, host)}, [])
        script = post_script(world.directory, label.split()[-1], body)
        url = f"https://{host}{path}"
        rows.append(Contender(label, sandbox.namespace, prefix, url, script, groups))
    return rows


@contextmanager
def nginx_row(world: World, place: Namespace, origin: str) -> Iterator[Contender]:
    """nginx as a reverse proxy: TLS on both sides, upstream verified and kept alive."""
    leaf = world.authority.leaf_file(NAME)
    http = f"""
        log_format full '$remote_addr [$time_local] "$request" $status $body_bytes_sent '
            '$request_length $request_time $upstream_addr $upstream_response_time';
        access_log {world.directory}/access.log full;
        upstream origin {{ server {origin}:443; keepalive 64; keepalive_requests 1000000000; }}
        server {{
            listen {PROXY_ADDRESS}:443 ssl; ssl_certificate {leaf}; ssl_certificate_key {leaf};
            location / {{
                proxy_pass https://origin; proxy_http_version 1.1;
                proxy_set_header Connection ""; proxy_set_header Host {NAME};
                proxy_ssl_name {NAME}; proxy_ssl_server_name on; proxy_ssl_verify on;
                proxy_ssl_trusted_certificate {world.authority.root_file};
                proxy_ssl_protocols TLSv1.2 TLSv1.3;
            }}
        }}"""
    workers = len(netmgr_processes(world)["proxy"])  # as many as we have
    command = nginx_command(world, "nginx", http, workers=workers)
    with started(world.host, (PROXY_ADDRESS, 443), command) as pid:
        yield peer_row(world, place, "nginx, access log on", 443, pid)


@contextmanager
def mitmproxy_row(world: World, place: Namespace, origin: str) -> Iterator[Contender]:
    """mitmproxy as a reverse proxy, as quiet as it can be."""
    options = {
        "confdir": str(world.directory / "mitmproxy"),
        "ssl_verify_upstream_trusted_ca": str(world.authority.root_file),
        "keep_host_header": "true",
        "http2": "false",
        "flow_detail": "0",
    }
    words = [str(MITMPROXY_HOME / "bin" / "mitmdump"), "--quiet"]
    words += ["--mode", f"reverse:https://{NAME}:443/"]
    words += ["--listen-host", PROXY_ADDRESS, "--listen-port", str(MITMPROXY_PORT)]
    for key, value in options.items():
        words += ["--set", f"{key}={value}"]
    command = with_hosts(world, {NAME: origin}, words)
    with started(world.host, (PROXY_ADDRESS, MITMPROXY_PORT), command) as pid:
        yield peer_row(world, place, "mitmproxy, reverse mode", MITMPROXY_PORT, pid)


def peer_row(world: World, place: Namespace, label: str, port: int, pid: int) -> Contender:
    """A proxy in the host's namespace."""
    prefix = with_hosts(world, {NAME: PROXY_ADDRESS}, [])
    script = post_script(world.directory, f"peer{port}", ANSWER)
    url = f"https://{NAME}:{port}/v1/items"
    return Contender(label, place, prefix, url, script, {label: family(pid)})


def install_mitmproxy() -> str | None:
    """Why there is none; None where it is installed."""
    if (MITMPROXY_HOME / "bin" / "mitmdump").exists():
        return None
    pip = [str(MITMPROXY_HOME / "bin" / "pip"), "install", "--quiet", MITMPROXY]
    for command in ([sys.executable, "-m", "venv", str(MITMPROXY_HOME)], pip):
        try:
            subprocess.run(
                command, check=True, capture_output=True, text=True, timeout=INSTALL_DEADLINE_S
            )
        except subprocess.SubprocessError as fault:
            last = (getattr(fault, "stderr", "") or str(fault)).strip().splitlines()[-1]
            return f"{MITMPROXY} cannot be installed: {last}"
    return None


# -- idle connections ----------------------------------------------------------------------


def idle_memory(world: World, sandbox: Sandbox, count: int) -> float:
    """KiB of all proxy workers' memory per idle terminated connection."""
    workers = netmgr_processes(world)["proxy"]
    command = [sys.executable, "-I", str(HERE / "hold_idle.py")]
    command += [private_address(sandbox, NAME), NAME, sandbox.facts["run_dir"] + "/ca.pem"]
    before = pss_kib(workers)
    process = subprocess.Popen(
        sandbox.namespace.command(*command, str(count)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=clean_environment(),
    )
    assert process.stdout is not None
    held = json.loads(process.stdout.readline() or "0")
    after = pss_kib(workers)
    process.communicate("", timeout=60)
    if held != count:
        raise SystemExit(f"{held} of {count} idle connections were held")
    return (after - before) / count


# -- the report ----------------------------------------------------------------------------


def print_table(rows: list[Contender]) -> None:
    """One line per contender, and one for each of our other processes."""
    print("| one request | CPU µs | min | max | requests/s |\n|---|---|---|---|---|")
    for row in rows:
        for number, (group, costs) in enumerate(row.costs.items()):
            label = f"{row.name}: {group} workers" if group == "proxy" else row.name
            label = label if number == 0 else f"{row.name}: {group}, beside it"
            rate = f"{statistics.median(row.rates):.0f}" if number == 0 else ""
            print(
                f"| {label} | {statistics.median(costs):.1f} | {min(costs):.1f} |"
                f" {max(costs):.1f} | {rate} |"
            )


def print_ratios(rows: list[Contender]) -> None:
    """Ours over each of the others, median over rounds of the ratio within a round."""
    ours = rows[0].costs["proxy"]
    peers = [row for row in rows if "proxy" not in row.processes]
    for row, target in zip(peers, (3.5, 0.1), strict=False):
        theirs = row.costs[row.name]
        ratio = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
        print(f"\nnetmgr : {row.name} = {ratio:.3g} (target: {target} at most)")


def main() -> None:
    """Measure and report."""
    asked = (
        Options(__doc__)
        .number("seconds", 6, 2, "of each run")
        .number("rounds", 5, 1, "of all proxies")
        .number("clients", 32, 32, "connections of wrk")
        .number("idle", 1000, 200, "idle connections held")
        .read()
    )
    missing = install_mitmproxy()
    with ExitStack() as stack:
        world = stack.enter_context(quiet_world(connections_per_sandbox=asked.idle + 256))
        origin = stack.enter_context(upstream(world))
        set_inference(world)
        sandbox = world.sandbox("bench", POLICY)
        place = stack.enter_context(client_namespace(world))
        idle = idle_memory(world, sandbox, asked.idle)
        rows = netmgr_rows(world, sandbox)
        rows.append(stack.enter_context(nginx_row(world, place, origin)))
        if missing is None:
            rows.append(stack.enter_context(mitmproxy_row(world, place, origin)))
        for row in rows:
            row.warm(asked.clients)
        for _ in range(asked.rounds):
            for row in rows:
                row.load(asked.seconds, asked.clients)
    print_table(rows)
    print_ratios(rows)
    if missing is not None:
        print(f"\nno row for mitmproxy: {missing}")
    print(f"\nidle terminated connection: {idle:.1f} KiB of the workers (target: under 40)")


if __name__ == "__main__":
    main()
