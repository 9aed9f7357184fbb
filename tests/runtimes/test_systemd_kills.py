"""A service in a sandbox by its drop-in, under a real systemd, while parts of it are killed."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from runtimes.leftovers import assert_nothing_is_left, checks_out, names, sandboxes
from runtimes.machine import Machine
from runtimes.systemd import Systemd
from world.web import fixed

pytestmark = pytest.mark.root

ROOT = Path(__file__).parents[2]
BOX = "agent"  # the sandbox, its policy, and the service in it
MAKER = f"netmgr-sandbox@{BOX}.service"
POLICY = """\
version: 1
network_policies:
  api:
    endpoints: [{host: api.example.com, port: 443}]
    binaries: [{path: "/**"}]
"""
# The machine's daemon is the world's: what is tested here is who depends on it.
DAEMON = "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n"
SERVICE = """\
[Service]
ExecStart=/bin/sh {directory}/agent.sh
Restart=always
RestartSec=0.1
"""
# One line for each try: which process, in which namespace, what it got.
AGENT = """\
while :; do
  got=$(curl -sS -m 2 https://api.example.com/ 2>/dev/null) || got=nothing
  echo "$$ $(readlink /proc/self/ns/net) $got" >> {directory}/tries
  sleep 0.2
done
"""


class Service:
    """The service as its operator sees it: by systemctl, and by what it writes."""

    def __init__(self, machine: Machine, systemd: Systemd) -> None:
        self.machine = machine
        self.systemd = systemd
        self._tries = machine.world.directory / "tries"

    @property
    def pid(self) -> int:
        """Its main process, as the machine counts."""
        inner = self.systemd.shows("agent.service", "MainPID")
        return self.outer(int(inner))

    def outer(self, inner: int) -> int:
        """What the machine calls a process of systemd's namespace."""
        space = os.stat(f"/proc/{self.systemd.leader}/ns/pid").st_ino
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                if (entry / "ns/pid").stat().st_ino != space:
                    continue
                lines = (entry / "status").read_text().splitlines()
            except OSError:
                continue
            numbers = next(line for line in lines if line.startswith("NSpid:")).split()
            if int(numbers[-1]) == inner:
                return int(entry.name)
        raise AssertionError(f"systemd's process {inner} is not there")

    def wait_for_a_try(self, got: str, but: int | None = None) -> tuple[int, str]:
        """A try from now on that got this; its process and namespace.

        Args:
            but: of another process than this one.
        """
        seen = len(self.tries())

        def found() -> list[tuple[int, str]]:
            return [
                (pid, where)
                for pid, where, answer in self.tries()[seen + 1 :]
                if answer == got and pid != but
            ]

        self.systemd.wait(f"a try that got {got!r}", lambda: bool(found()))
        return found()[0]

    def tries(self) -> list[tuple[int, str, str]]:
        """Every try so far."""
        text = self._tries.read_text() if self._tries.exists() else ""
        parts = [line.split(" ", 2) for line in text.splitlines() if line.count(" ") >= 2]
        return [(int(pid), where, got) for pid, where, got in parts]

    def in_its_sandbox(self, where: str) -> bool:
        """Whether a namespace is the sandbox's, and that is as its record says."""
        [box] = sandboxes(self.machine)
        inode = os.stat(box["netns"]).st_ino
        return where == f"net:[{inode}]" and checks_out(self.machine, BOX)


@pytest.fixture(scope="module")
def systemd(machine: Machine) -> Iterator[Systemd]:
    machine.world.internet.https("api.example.com", fixed(b"hello\n"))
    machine.write(f"etc/netmgr/policies/{BOX}.yaml", POLICY)
    folder = {"directory": machine.world.directory}
    (machine.world.directory / "agent.sh").write_text(AGENT.format(**folder))
    maker = (ROOT / "packaging/netmgr-sandbox@.service").read_text()
    drop_in = machine.must("netmgr", "sandbox", "inject", BOX, "--for", "systemd", "--needs", MAKER)
    units = {
        "netmgr.service": DAEMON,
        "netmgr-sandbox@.service": maker.replace("/usr/local/bin/netmgr", "/opt/bin/netmgr"),
        "agent.service": SERVICE.format(**folder),
        "agent.service.d/netmgr.conf": drop_in,
    }
    units = {
        name: f"[Unit]\nDefaultDependencies=no\n{text}" if name.endswith(".service") else text
        for name, text in units.items()
    }
    with Systemd(machine, units, "netmgr.service") as made:
        yield made


@pytest.fixture
def service(machine: Machine, systemd: Systemd) -> Iterator[Service]:
    systemd.must("start", "agent.service")
    yield Service(machine, systemd)
    systemd.must("stop", "agent.service", MAKER)
    systemd.control("reset-failed")
    assert_nothing_is_left(machine)


def test_the_daemon_is_killed_under_a_service(machine: Machine, service: Service) -> None:
    """Its fence stands meanwhile, and who starts again has no other network."""
    pid, where = service.wait_for_a_try("hello")
    assert service.in_its_sandbox(where)
    daemon = machine.world.netmgrd
    daemon.kill()
    try:
        assert service.wait_for_a_try("nothing") == (pid, where)
        os.kill(service.pid, signal.SIGKILL)
        again, there = service.wait_for_a_try("nothing", but=pid)
        assert (again != pid, there) == (True, where)
    finally:
        daemon.start()
    assert service.wait_for_a_try("hello", but=pid) == (again, where)
    assert service.in_its_sandbox(where)


def test_the_service_is_killed_and_comes_back_behind_its_door(service: Service) -> None:
    pid, where = service.wait_for_a_try("hello")
    os.kill(service.pid, signal.SIGKILL)
    assert service.wait_for_a_try("hello", but=pid)[1] == where
    assert service.in_its_sandbox(where)


def test_without_a_sandbox_it_does_not_start(machine: Machine, service: Service) -> None:
    """Its maker needs the daemon, and it needs its maker."""
    systemd = service.systemd
    service.wait_for_a_try("hello")
    systemd.must("stop", MAKER)  # BindsTo=: the service goes first
    assert systemd.shows("agent.service", "ActiveState") == "inactive"
    assert_nothing_is_left(machine)
    daemon = machine.world.netmgrd
    daemon.kill()
    try:
        before = service.tries()
        assert systemd.control("start", "agent.service").returncode != 0
        assert service.tries() == before
    finally:
        daemon.start()
    systemd.must("start", "agent.service")
    assert service.in_its_sandbox(service.wait_for_a_try("hello")[1])


def test_a_sandbox_that_is_deleted_under_a_service_leaves_it_no_door(
    machine: Machine, service: Service
) -> None:
    service.wait_for_a_try("hello")
    machine.must("netmgr", "sandbox", "delete", BOX)
    pid, _ = service.wait_for_a_try("nothing")
    service.systemd.must("restart", MAKER)
    again, there = service.wait_for_a_try("hello", but=pid)
    assert again != pid
    assert service.in_its_sandbox(there)


@pytest.mark.parametrize("verb", ["start", "stop"])
@pytest.mark.parametrize("after_s", [0.05, 0.4])
def test_its_maker_is_killed_at_any_moment(
    machine: Machine, service: Service, verb: str, after_s: float
) -> None:
    """Whatever was done by then, the next start has the sandbox whole."""
    systemd = service.systemd
    if verb == "start":
        systemd.must("stop", "agent.service", MAKER)
    systemd.must(verb, "--no-block", MAKER)
    time.sleep(after_s)
    systemd.control("kill", "--signal=KILL", MAKER)
    systemd.wait("the maker's end", lambda: systemd.must("list-jobs").startswith("No jobs"))
    assert all(checks_out(machine, name) for name in names(machine))
    systemd.control("reset-failed")
    systemd.must("start", "agent.service")
    assert service.in_its_sandbox(service.wait_for_a_try("hello")[1])


def test_what_a_killed_systemd_leaves_is_collected(machine: Machine, systemd: Systemd) -> None:
    """The last test here. Its unit is the sandbox's label, so what no unit owns is found."""
    systemd.must("start", "agent.service")
    Service(machine, systemd).wait_for_a_try("hello")
    listed = systemd.must("list-units", "--plain", "--no-legend", "netmgr-sandbox@*").split()[:1]
    collect = ("netmgr", "sandbox", "gc", "--by", "unit", "--keep")
    machine.must(*collect, *listed)
    assert names(machine) == [BOX]
    os.kill(systemd.leader, signal.SIGKILL)
    assert checks_out(machine, BOX)
    machine.must(*collect, "none")
    assert_nothing_is_left(machine)
