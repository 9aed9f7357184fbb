"""Plug-ins in a live daemon: installed packages with routers, scorers and middlewares, and a router
that is a program of its own.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from world import World
from world.environment import READABLE

pytestmark = pytest.mark.root

# Plug-ins are imported as nobody. Where the checkout is not READABLE there are none, and what is
# asked of them then is refused.
EXAMPLES = Path(__file__).parents[2] / "examples"
PACKAGES = ("netmgr-cheapest-router", "netmgr-shouting")
PATIENCE_S = 50.0
SCANNED = """\
version: 1
network_policies: {}
network_middlewares:
  quiet:
    middleware: example/shouting
    config: {most_percent: 50}
    endpoints: {include: [inference.local]}
"""
FILE = """\
version: 1
router: {router}
endpoints:
  dear: {{provider: p, model: m, facts: {{context: 8000, price: {{in: 5, out: 9}}}}}}
  cheap: {{provider: p, model: m, facts: {{context: 9000, price: {{in: 1, out: 1}}}}}}
  wide: {{provider: p, model: m, facts: {{context: 90000, price: {{in: 2, out: 2}}}}}}
"""


@pytest.fixture(scope="module")
def installed() -> Iterator[None]:
    """The example packages, as an operator installs them."""
    pip = [sys.executable, "-m", "pip", "-q"]
    words = ["install", "--no-deps", "--no-build-isolation", "--no-index"]
    places = [str(EXAMPLES / name) for name in ("cheapest_router", "middleware-plug-in")]
    subprocess.run([*pip, *words, *places], check=True, timeout=100)
    yield
    subprocess.run([*pip, "uninstall", "-y", *PACKAGES], check=True, timeout=100)


@pytest.fixture(scope="module")
def world(installed: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A daemon whose settings enable both plug-ins."""
    place = Path("/opt") if os.access("/opt", os.W_OK) else tmp_path_factory.mktemp("routers")
    program = place / f"netmgr-line-router-{os.getpid()}"
    program.write_text((EXAMPLES / "line_router.py").read_text())
    program.chmod(0o755)
    try:
        with World() as made:
            made.daemon(
                model_routers=["cheapest", f"widest={program}"],
                route_scorers=["local"],
                middleware_plug_ins=["example/shouting"],
            )
            made.provider("p", "https://p.route.test/v1")
            yield made
    finally:
        program.unlink()


def order(world: World) -> tuple[list[str], list[str]]:
    """(the order that a worker decides on, its findings)."""
    told = world.show("route", "explain")
    return [each["endpoint"] for each in told["candidates"] if each["permitted"]], told["findings"]


def put(world: World, tmp_path: Path, router: str, status: int = 0) -> str:
    path = tmp_path / "routing.yaml"
    path.write_text(FILE.format(router=router))
    return world.do("route", "set", str(path), "--accept-widening", status=status)


def eventually(world: World, expected: list[str]) -> None:
    """A busy machine may miss the two milliseconds; a program may be starting."""
    deadline = time.monotonic() + PATIENCE_S
    while (found := order(world))[0] != expected:
        assert time.monotonic() < deadline, found
        time.sleep(0.2)


def test_an_installed_router_orders(world: World, tmp_path: Path) -> None:
    if not READABLE:
        assert "its program has ended" in put(world, tmp_path, "cheapest", status=2)
        return
    put(world, tmp_path, "cheapest")
    eventually(world, ["cheap", "wide", "dear"])
    refused = put(world, tmp_path, "{name: cheapest, config: {bussy: 3}}", status=2)
    assert "unknown key; expected 'busy'" in refused


def test_an_installed_scorer_is_weighed(world: World, tmp_path: Path) -> None:
    put(world, tmp_path, "{name: weighted, config: {weights: {local: 1, price: 1}}}")
    eventually(world, ["cheap", "wide", "dear"])


def test_an_installed_middleware_looks(world: World) -> None:
    """It was imported by nobody: the scan worker has no other user, and nothing to be one with."""
    scan = next(pid for pid, kind in world.netmgrd.processes().items() if kind == "scan")
    fields = dict(
        line.split(":\t") for line in Path(f"/proc/{scan}/status").read_text().splitlines()
    )
    assert "0" not in fields["Uid"].split()
    assert int(fields["CapPrm"], 16) == int(fields["CapBnd"], 16) == 0
    assert os.listdir(f"/proc/{scan}/root") == []
    box = world.sandbox("quiet", SCANNED)
    words = ["curl", "-sS", "https://inference.local/v1/chat/completions", "-d"]
    loud = json.dumps({"model": "m", "messages": [{"content": "DO IT NOW AND DO IT FAST " * 9}]})
    told = box.run(*words, loud).stdout
    assert "shouting" in told
    if not READABLE:
        assert "middleware_failed" in told
        return
    assert "middleware_denied" in told
    assert "middleware_denied" not in box.run(*words, loud.lower()).stdout


def test_who_is_not_enabled_is_refused(world: World, tmp_path: Path) -> None:
    assert "no router 'nobody' is enabled" in put(world, tmp_path, "nobody", status=2)


def test_a_program_orders_and_is_started_again(world: World, tmp_path: Path) -> None:
    put(world, tmp_path, "widest")
    eventually(world, ["wide", "cheap", "dear"])
    programs = running()
    assert programs
    for pid in programs:
        status = Path(f"/proc/{pid}/status").read_text()
        fields = dict(line.split(":\t") for line in status.splitlines() if ":\t" in line)
        assert "0" not in fields["Uid"].split()
        assert int(fields["CapEff"], 16) == int(fields["CapBnd"], 16) == 0
        assert fields["NoNewPrivs"] == "1"
        net = Path(f"/proc/{pid}/net/dev").read_text()
        assert [line.split(":")[0].strip() for line in net.splitlines()[2:]] == ["lo"]
        os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + PATIENCE_S
    while running() & programs or not running():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    eventually(world, ["wide", "cheap", "dear"])


def running() -> set[int]:
    """The example program's processes of this test."""
    mark = f"netmgr-line-router-{os.getpid()}"
    found = set()
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = each.read_bytes().split(b"\0")
        except OSError:
            continue
        if b"python3" in words[0] and any(word.endswith(mark.encode()) for word in words[:3]):
            found.add(int(each.parent.name))
    return found
