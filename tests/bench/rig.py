"""Owns: the rig that proxies are measured on: places, servers, clients, and a meter for CPU.

    client ─ sandbox ─┬─ hub (netmgr's workers) ─┐
                      │                          ├─ host ── up0 ── internet: nginx, the upstream
    client ─ client ──┴─ host (the other proxy) ─┘

Every client reaches its proxy over one veth pair, and every proxy the upstream over another, so
what differs between two rows of a table is the proxy. Nothing leaves the namespaces of one World.
"""

import argparse
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from world import World
from world.environment import clean_environment
from world.namespaces import Namespace
from world.sandbox import Sandbox

HERE: Final = Path(__file__).resolve().parent
CLIENT_ADDRESS: Final = "10.78.0.2"
PROXY_ADDRESS: Final = "10.78.0.1"  # where a client finds nginx, mitmproxy and the plain relay
NAME: Final = "api.bench.example"
MODEL_NAME: Final = "model.bench.example"
START_DEADLINE_S: Final = 20.0
RUN_DEADLINE_S: Final = 120.0
TICKS: Final = os.sysconf("SC_CLK_TCK")
_BIND_HOSTS: Final = 'mount --bind "$0" /etc/hosts && exec "$@"'
_RESULT: Final = re.compile(r"^RESULT (\d+) (\d+) (\d+)$", re.MULTILINE)

ANSWER: Final = json.dumps({"id": 1, "object": "answer", "text": "x" * 960})
COMPLETION: Final = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": "bench-model",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "word " * 40}}],
        "usage": {"prompt_tokens": 12, "completion_tokens": 40, "total_tokens": 52},
    }
)
QUESTION: Final = json.dumps(
    {
        "model": "anything",
        "messages": [
            {"role": "system", "content": "Answer in one short sentence, without lists."},
            {"role": "user", "content": "What does a proxy cost? " * 10},
        ],
        "temperature": 0.2,
    }
)


# -- places --------------------------------------------------------------------------------


@contextmanager
def quiet_world(**config: Any) -> Iterator[World]:
    """A world with a daemon and without captures: they would copy every byte that is measured."""
    with World() as world:
        world.daemon(**config)
        for place in ("host", "inet", "hub"):
            world.capture.forget(place)
        yield world


@contextmanager
def client_namespace(world: World) -> Iterator[Namespace]:
    """Where the clients of the other proxies live: beside the sandboxes, one link to the host."""
    place = Namespace(f"{world.id}.client")
    subprocess.run(["ip", "netns", "add", place.name], check=True)
    try:
        world.host.ip(f"link add bench0 type veth peer name eth0 netns {place.name}")
        world.host.ip(f"address add {PROXY_ADDRESS}/30 dev bench0", "link set bench0 up")
        place.ip(f"address add {CLIENT_ADDRESS}/30 dev eth0", "link set eth0 up", "link set lo up")
        yield place
    finally:
        place.delete()


def with_hosts(world: World, hosts: dict[str, str], command: Sequence[str]) -> list[str]:
    """`command` with an /etc/hosts of its own; exec'd, so the process id stays the caller's."""
    path = world.directory / f"hosts-{abs(hash(tuple(hosts.items())))}"
    path.write_text("127.0.0.1 localhost\n" + "".join(f"{a} {n}\n" for n, a in hosts.items()))
    words = ["unshare", "--mount", "--propagation", "private", "sh", "-c", _BIND_HOSTS]
    return [*words, str(path), *command]


def private_address(sandbox: Sandbox, name: str) -> str:
    """The address that `name` has inside, as the sandbox's own resolver says."""
    found = sandbox.run("getent", "ahostsv4", name)
    if found.returncode != 0 or not found.stdout:
        raise SystemExit(f"{name} does not resolve inside the sandbox: {found.stderr}")
    return found.stdout.split()[0]


# -- servers -------------------------------------------------------------------------------


@contextmanager
def started(
    place: Namespace,
    address: tuple[str, int],
    command: Sequence[str],
    *,
    within: float = START_DEADLINE_S,
) -> Iterator[int]:
    """The process id of a server in `place`, once something listens at `address` there."""
    process = subprocess.Popen(
        place.command(*command),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=clean_environment(),
    )
    try:
        deadline = time.monotonic() + within
        while not _listens(place, address):
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                story = process.communicate()[1].decode(errors="replace")
                raise SystemExit(f"{command[0]} does not serve {address}: {story}")
            time.sleep(0.05)
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.communicate(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def _listens(place: Namespace, address: tuple[str, int]) -> bool:
    with place.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.settimeout(1.0)
        return sock.connect_ex(address) == 0


def nginx_command(world: World, label: str, http: str, *, workers: int = 1) -> list[str]:
    """How an nginx with this `http` block is started."""
    home = world.directory / label
    home.mkdir()
    config = f"""
        daemon off; worker_processes {workers}; pid {home}/pid; error_log {home}/error.log;
        events {{ worker_connections 4096; }}
        http {{
            keepalive_requests 1000000000; keepalive_timeout 600s; client_body_buffer_size 64k;
            client_body_temp_path {home}/body; proxy_temp_path {home}/proxy;
            fastcgi_temp_path {home}/f; uwsgi_temp_path {home}/u; scgi_temp_path {home}/s;
            {http}
        }}"""
    (home / "nginx.conf").write_text(config)
    return ["nginx", "-p", str(home), "-e", str(home / "error.log"), "-c", str(home / "nginx.conf")]


@contextmanager
def upstream(world: World) -> Iterator[str]:
    """The address of the one server that every request ends at: nginx, scripted answers, TLS."""
    address = world.internet.address()
    for name in (NAME, MODEL_NAME):
        world.internet.zone.set(name, address)
    leaf = world.authority.leaf_file(NAME, MODEL_NAME)
    http = f"""
        access_log off; default_type application/json;
        server {{
            listen {address}:443 ssl; ssl_certificate {leaf}; ssl_certificate_key {leaf};
            location = /v1/chat/completions {{ return 200 '{COMPLETION}'; }}
            location / {{ return 200 '{ANSWER}'; }}
        }}"""
    with started(world.inet, (address, 443), nginx_command(world, "upstream", http)):
        yield address


def set_inference(world: World) -> None:
    """Let inference.local of every sandbox lead to the upstream."""
    provider = {
        "name": "bench",
        "type": "openai",
        "credentials": {"OPENAI_API_KEY": "sk-bench"},
        "config": {"OPENAI_BASE_URL": f"https://{MODEL_NAME}/v1"},
    }
    route = {"provider": "bench", "model": "bench-model", "verify": False}
    for method, path, body in (
        ("POST", "/v1/providers", provider),
        ("PUT", "/v1/inference", route),
    ):
        status, answer = world.netmgrd.api(method, path, body)
        if status >= 300:
            raise SystemExit(f"{method} {path}: {status} {answer}")


# -- load ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Load:
    """What one run of wrk did."""

    requests: int
    seconds: float

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds


def post_script(directory: Path, label: str, body: str) -> Path:
    """A script for wrk that POSTs `body` and prints its totals in a form for us."""
    path = directory / f"{label}.lua"
    path.write_text(
        f"""
        wrk.method = "POST"
        wrk.body = [==[{body}]==]
        wrk.headers["Content-Type"] = "application/json"
        wrk.headers["Authorization"] = "Bearer unused"
        function done(summary, latency, requests)
            local e = summary.errors
            local bad = e.connect + e.read + e.write + e.timeout + e.status
            io.write(string.format("RESULT %d %d %d\\n", summary.requests, summary.duration, bad))
        end
        """
    )
    return path


def run_wrk(
    place: Namespace, prefix: Sequence[str], url: str, script: Path, *, seconds: int, clients: int
) -> Load:
    """Load from `place`.

    Raises:
        SystemExit: a request failed: what was measured would be something else.
    """
    words = ["wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "--timeout", "10s", "-s", str(script)]
    done = subprocess.run(
        place.command(*prefix, *words, url),
        text=True,
        capture_output=True,
        timeout=seconds + RUN_DEADLINE_S,
        env=clean_environment(),
        check=False,
    )
    found = _RESULT.search(done.stdout)
    if found is None or int(found[3]) or not int(found[1]):
        raise SystemExit(f"wrk {url}: {done.stdout}{done.stderr}")
    return Load(int(found[1]), int(found[2]) / 1e6)


# -- meters --------------------------------------------------------------------------------


def cpu_seconds(pids: Iterable[int]) -> float:
    """utime and stime of processes, threads that have ended included (proc_pid_stat(5))."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / TICKS


def pss_kib(pids: Iterable[int]) -> int:
    """Proportional set size of processes (proc_pid_smaps(5))."""
    total = 0
    for pid in pids:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total


def family(pid: int) -> list[int]:
    """A process and its children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *map(int, children)]


def netmgr_processes(world: World) -> dict[str, list[int]]:
    """netmgr's live processes by kind."""
    found: dict[str, list[int]] = {}
    for pid, kind in world.netmgrd.processes().items():
        found.setdefault(kind, []).append(pid)
    return found


# -- the command line ----------------------------------------------------------------------


class Options(argparse.ArgumentParser):
    """Every benchmark's options: `--quick` makes all of them small."""

    def __init__(self, description: str | None) -> None:
        super().__init__(description=description)
        self.add_argument("--quick", action="store_true", help="seconds instead of minutes")
        self._quick: dict[str, int] = {}

    def number(self, name: str, usual: int, quick: int, help_text: str) -> Self:
        """A whole number with a usual and a quick default."""
        self._quick[name] = quick
        self.add_argument(f"--{name}", type=int, default=usual, help=help_text)
        return self

    def read(self) -> argparse.Namespace:
        """The options of this run."""
        asked = self.parse_args()
        if asked.quick:
            for name, value in self._quick.items():
                if getattr(asked, name) == self.get_default(name):
                    setattr(asked, name, value)
        return asked
