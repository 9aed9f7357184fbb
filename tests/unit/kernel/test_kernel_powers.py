"""Which capabilities of a process make its namespace one that is not attached."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from netmgr.kernel.powers import Holder, find_holders, judge_powers, kill_holder

NONE, DOCKER, NET, SYS, ALL = "0", "a80425fb", "1000", "200000", "1ffffffffff"


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({}, None),
        ({"CapEff": DOCKER, "CapPrm": DOCKER, "CapBnd": DOCKER}, None),
        ({"CapEff": NET, "NoNewPrivs": "1"}, "CAP_NET_ADMIN"),
        ({"CapPrm": SYS, "NoNewPrivs": "1"}, "CAP_SYS_ADMIN"),
        ({"CapAmb": NET, "NoNewPrivs": "1"}, "CAP_NET_ADMIN"),
        ({"CapInh": SYS, "NoNewPrivs": "1"}, "CAP_SYS_ADMIN"),
        ({"CapEff": NONE, "CapBnd": ALL, "NoNewPrivs": "1"}, None),
        ({"CapEff": NONE, "CapBnd": ALL, "NoNewPrivs": "0"}, "CAP_NET_ADMIN"),
    ],
)
def test_powers(fields: dict[str, str], found: str | None) -> None:
    assert judge_powers(fields) == found


class Processes:
    """A process table of files: what is one inode there is one namespace."""

    def __init__(self, directory: Path) -> None:
        self.root = directory
        self.add("self", net="host")

    def add(self, name: str, **changes: str) -> str:
        """A process, which is the operator's own unless a change says otherwise."""
        facts = {"net": "box", "user": "host", "pid": "host", "root": "host", "exe": "/bin/sh"}
        facts |= {"started": "7", "caps": ALL} | changes
        place = self.root / name
        (place / "ns").mkdir(parents=True)
        for kind in ("net", "user", "pid"):
            (place / "ns" / kind).symlink_to(self._thing(f"{kind}-{facts[kind]}"))
        top = self.root / f"root-{facts['root']}"
        (top / "bin").mkdir(parents=True, exist_ok=True)
        (top / "bin/sh").touch()
        (place / "root").symlink_to(top)
        (place / "exe").symlink_to(facts["exe"])
        if (top / facts["exe"].lstrip("/")).exists():  # as /proc has it: the link leads there
            (place / "exe").unlink()
            (place / "exe").symlink_to(top / facts["exe"].lstrip("/"))
        (place / "status").write_text(f"CapEff:\t{facts['caps']}\nNoNewPrivs:\t1\n")
        (place / "stat").write_text(f"1 (a) b) S {' '.join(['0'] * 18)} {facts['started']} 0\n")
        return name

    def _thing(self, name: str) -> Path:
        path = self.root / name
        path.touch()
        return path

    def identity(self, name: str) -> tuple[int, int]:
        facts = self._thing(name).stat()
        return facts.st_dev, facts.st_ino

    def found(self) -> dict[int, str]:
        holders = find_holders({self.identity("net-box")}, str(self.root))
        return {holder.pid: holder.capability for holder in holders}


def test_who_came_into_a_sandbox_with_too_much_power_is_found(tmp_path: Path) -> None:
    table = Processes(tmp_path)
    table.add("10", pid="box", root="box")
    table.add("11", root="box")  # --pid=host
    table.add("12", pid="box")  # --rootfs /
    table.add("13", pid="box", root="box", caps=SYS)
    assert table.found() == {
        **dict.fromkeys((10, 11, 12), "CAP_NET_ADMIN"),
        13: "CAP_SYS_ADMIN",
    }


def test_others_are_left_alone(tmp_path: Path) -> None:
    table = Processes(tmp_path)
    table.add("20")  # the operator looks into a sandbox: ip netns exec
    table.add("21", pid="box", root="box", caps=DOCKER)
    table.add("22", pid="box", root="box", user="box")  # powers over what is its own
    table.add("23", pid="box", root="box", net="other")  # no sandbox of ours
    table.add("24x", pid="box", root="box")
    assert table.found() == {}


def test_a_daemon_in_a_container_knows_the_hosts_own(tmp_path: Path) -> None:
    """A node's operator looks into a sandbox, or its engine's plugin is at work there."""
    table = Processes(tmp_path)
    table.add("1", net="host", root="node")
    table.add("30", root="node")
    table.add("31", root="box")
    table.add("32", root="node", pid="box")
    assert set(table.found()) == {31, 32}


def test_only_the_process_that_was_found_is_killed() -> None:
    child = subprocess.Popen(["sleep", "60"])
    try:
        stat = Path(f"/proc/{child.pid}/stat").read_text()
        started = int(stat.rpartition(")")[2].split()[19])
        kill_holder(Holder(child.pid, started + 1, (0, 0), "CAP_NET_ADMIN", False))
        assert child.poll() is None
        kill_holder(Holder(child.pid, started, (0, 0), "CAP_NET_ADMIN", False))
        assert child.wait(timeout=10) == -signal.SIGKILL
    finally:
        child.kill()
        child.wait()
    kill_holder(Holder(os.getpid() ^ 0x3FFFFF, 1, (0, 0), "CAP_NET_ADMIN", False))  # nobody
