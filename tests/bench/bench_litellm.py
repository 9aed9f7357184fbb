"""A small model call through inference.local, LiteLLM's proxy and mitmproxy: CPU and added latency.

    sudo .venv/bin/python tests/bench/bench_litellm.py [--quick] [--calls 1000] [--rounds 5]

One kept-alive connection over TLS, one call after the other; all ways in turns, to one upstream.
CPU is that of every process of the proxy, our main process and dialer included; added is what a
call takes beyond the same call straight to the upstream. `packaging/setup.sh bench` installs
LiteLLM below `.cache`; a peer that is not there is named and left out. Asserts nothing.
"""

import secrets
import statistics
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parent))

from bench_latency import POLICY, WARM_CALLS, run
from bench_tls import MITMPROXY_HOME, install_mitmproxy
from rig import (
    MODEL_NAME,
    PROXY_ADDRESS,
    Options,
    client_namespace,
    cpu_seconds,
    family,
    netmgr_processes,
    private_address,
    quiet_world,
    set_inference,
    started,
    upstream,
    with_hosts,
)
from world.namespaces import Namespace
from world.world import World

LITELLM: Final = Path(__file__).resolve().parents[2] / ".cache" / "litellm" / "bin" / "litellm"
PEER_PORTS: Final = {"LiteLLM": 4000, "mitmproxy": 8443}
# LiteLLM alone imports for half a minute on a busy machine.
PEER_DEADLINE_S: Final = 180.0
TARGET: Final = 0.1


@dataclass
class Way:
    """One way from a client to the model."""

    name: str
    place: Namespace
    address: str
    host: str
    ca: str
    pids: list[int] = field(default_factory=list)
    port: int = 443
    key: str = "unused"
    costs: list[float] = field(default_factory=list)
    middle: list[float] = field(default_factory=list)
    tail: list[float] = field(default_factory=list)

    def measure(self, calls: int) -> None:
        """One turn: microseconds of CPU and of waiting per call."""
        before = cpu_seconds(self.pids)
        took = run(
            self.place, self.address, self.host, self.ca, calls, port=self.port, key=self.key
        )
        self.costs.append((cpu_seconds(self.pids) - before) * 1e6 / (calls + WARM_CALLS))
        cuts = statistics.quantiles(took, n=100)
        self.middle.append(cuts[49])
        self.tail.append(cuts[98])


def peer(world: World, place: Namespace, name: str, pid: int) -> Way:
    """A proxy in the host's namespace."""
    root, port = str(world.authority.root_file), PEER_PORTS[name]
    return Way(name, place, PROXY_ADDRESS, MODEL_NAME, root, family(pid), port)


@contextmanager
def litellm(world: World, place: Namespace, origin: str) -> Iterator[Way]:
    """LiteLLM with one model, no database and nothing to log. Without a key it does not start."""
    config = world.directory / "litellm.yaml"
    config.write_text(
        "model_list:\n  - model_name: anything\n    litellm_params:\n"
        "      model: openai/bench-model\n      api_key: sk-bench\n"
        f"      api_base: https://{MODEL_NAME}/v1\n"
        "litellm_settings:\n  telemetry: false\n  set_verbose: false\n"
    )
    leaf, root = str(world.authority.leaf_file(MODEL_NAME)), str(world.authority.root_file)
    key = "sk-" + secrets.token_hex(32)
    settings = {
        "LITELLM_MASTER_KEY": key,
        "SSL_CERT_FILE": root,
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # else it asks the internet at start
        "LITELLM_LOG": "ERROR",
        "HOME": str(world.directory),
    }
    port = PEER_PORTS["LiteLLM"]
    words = ["env", *(f"{key}={value}" for key, value in settings.items()), str(LITELLM)]
    words += ["--config", str(config), "--host", PROXY_ADDRESS, "--port", str(port)]
    words += ["--ssl_keyfile_path", leaf, "--ssl_certfile_path", leaf, "--telemetry", "False"]
    command = with_hosts(world, {MODEL_NAME: origin}, words)
    with started(world.host, (PROXY_ADDRESS, port), command, within=PEER_DEADLINE_S) as pid:
        way = peer(world, place, "LiteLLM", pid)
        way.key = key
        yield way


@contextmanager
def mitmproxy(world: World, place: Namespace, origin: str) -> Iterator[Way]:
    """mitmproxy as a reverse proxy, with the leaf that LiteLLM has too."""
    port = PEER_PORTS["mitmproxy"]
    options = {
        "confdir": str(world.directory / "mitmproxy-model"),
        "certs": f"*={world.authority.leaf_file(MODEL_NAME)}",
        "ssl_verify_upstream_trusted_ca": str(world.authority.root_file),
        "keep_host_header": "true",
        "http2": "false",
        "flow_detail": "0",
    }
    words = [str(MITMPROXY_HOME / "bin" / "mitmdump"), "--quiet"]
    words += ["--mode", f"reverse:https://{MODEL_NAME}:443/"]
    words += ["--listen-host", PROXY_ADDRESS, "--listen-port", str(port)]
    words += [word for key, value in options.items() for word in ("--set", f"{key}={value}")]
    command = with_hosts(world, {MODEL_NAME: origin}, words)
    with started(world.host, (PROXY_ADDRESS, port), command, within=PEER_DEADLINE_S) as pid:
        yield peer(world, place, "mitmproxy", pid)


def ours(world: World) -> Way:
    """inference.local of one sandbox."""
    sandbox = world.sandbox("bench", POLICY)
    inside = private_address(sandbox, "inference.local")
    ca = sandbox.facts["run_dir"] + "/ca.pem"
    pids = [pid for found in netmgr_processes(world).values() for pid in found]
    return Way("netmgr", sandbox.namespace, inside, "inference.local", ca, pids)


def report(direct: Way, mine: Way, peers: list[Way]) -> None:
    """The table; then each ratio, as the median over the rounds of the ratio within a round."""
    print("| one model call | CPU µs | added median µs | added p99 µs |\n|---|---|---|---|")
    for way in (mine, *peers):
        cells = [way.costs, added(way.middle, direct.middle), added(way.tail, direct.tail)]
        print(f"| {way.name} | " + " | ".join(f"{statistics.median(c):.0f}" for c in cells) + " |")
    for way in peers:
        cpu = ratio(mine.costs, way.costs)
        middle = ratio(added(mine.middle, direct.middle), added(way.middle, direct.middle))
        tail = ratio(added(mine.tail, direct.tail), added(way.tail, direct.tail))
        print(
            f"\nnetmgr : {way.name} = {cpu:.3g} of the CPU, {middle:.3g} of the added median, "
            f"{tail:.3g} of the added p99 (target: {TARGET} at most)"
        )


def added(ways: list[float], direct: list[float]) -> list[float]:
    """What each turn took beyond the direct turn of its round."""
    return [a - b for a, b in zip(ways, direct, strict=True)]


def ratio(mine: list[float], theirs: list[float]) -> float:
    """Median of the rounds' ratios."""
    return statistics.median(a / b for a, b in zip(mine, theirs, strict=True))


def main() -> None:
    """Measure and report."""
    asked = (
        Options(__doc__)
        .number("calls", 1000, 200, "of each turn")
        .number("rounds", 5, 1, "turns of each")
        .read()
    )
    no_mitmproxy = install_mitmproxy()
    no_litellm = None if LITELLM.exists() else f"not at {LITELLM}: packaging/setup.sh bench"
    with ExitStack() as stack:
        world = stack.enter_context(quiet_world())
        origin = stack.enter_context(upstream(world))
        set_inference(world)
        mine = ours(world)
        direct = Way("direct", world.host, origin, MODEL_NAME, str(world.authority.root_file))
        place = stack.enter_context(client_namespace(world))
        peers = []
        if no_litellm is None:
            peers.append(stack.enter_context(litellm(world, place, origin)))
        if no_mitmproxy is None:
            peers.append(stack.enter_context(mitmproxy(world, place, origin)))
        for _ in range(asked.rounds):
            for way in (direct, mine, *peers):
                way.measure(asked.calls)
        report(direct, mine, peers)
    for name, why in (("LiteLLM", no_litellm), ("mitmproxy", no_mitmproxy)):
        if why is not None:
            print(f"\nno row for {name}: {why}")


if __name__ == "__main__":
    main()
