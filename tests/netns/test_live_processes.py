"""What every live process of a daemon may do, read from /proc: nobody's word is taken for it."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from world import World

pytestmark = pytest.mark.root

CONFINED = ("dns", "proxy", "dialer", "watch")
IN_HUB = ("dns", "proxy", "watch", "rules")
# The last is memory that proxy workers count bytes in: no file, and its size is sealed.
HARMLESS = re.compile(
    r"(socket|pipe|anon_inode):.*|/dev/null|/dev/urandom|/memfd:netmgr-(tally|vitals) \(deleted\)"
)


@pytest.fixture(scope="module")
def processes(world: World) -> dict[int, str]:
    """Every live process of the shared daemon, with a sandbox to serve."""
    box = world.sandbox("watched", "version: 1\nnetwork_policies: {}\n")
    found = world.netmgrd.processes()
    box.delete()
    return found


def status(pid: int) -> dict[str, str]:
    """The fields of /proc/PID/status."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def confined(processes: dict[int, str]) -> Iterator[tuple[int, str]]:
    """The workers that must hold nothing."""
    return ((pid, kind) for pid, kind in processes.items() if kind in CONFINED)


def test_every_kind_is_a_process_of_its_own(processes: dict[int, str]) -> None:
    kinds = list(processes.values())
    for kind in ("main", "dns", "dialer", "watch"):
        assert kinds.count(kind) == 1, kinds
    assert kinds.count("proxy") == os.cpu_count(), kinds


def test_workers_hold_no_capability(processes: dict[int, str]) -> None:
    for pid, kind in confined(processes):
        facts = status(pid)
        for field in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            assert int(facts[field], 16) == 0, f"{kind}: {field} {facts[field]}"
        assert facts["NoNewPrivs"] == "1", kind


def test_workers_are_users_of_their_own(world: World, processes: dict[int, str]) -> None:
    owners: dict[str, str] = {}
    for pid, kind in confined(processes):
        facts = status(pid)
        (uid,) = set(facts["Uid"].split())
        (gid,) = set(facts["Gid"].split())
        assert uid != "0", kind
        assert gid != "0", kind
        assert facts["Groups"] in ("", gid), f"{kind}: groups {facts['Groups']}"
        assert owners.setdefault(uid, kind) == kind, f"{kind} shares the uid of {owners[uid]}"


def test_each_process_is_in_its_place(world: World, processes: dict[int, str]) -> None:
    hub, host = world.netmgrd.hub.inode, world.host.inode
    for pid, kind in processes.items():
        place = Path(f"/proc/{pid}/ns/net").stat().st_ino
        assert place == (hub if kind in IN_HUB else host), kind


def test_workers_see_no_file(processes: dict[int, str]) -> None:
    for pid, kind in confined(processes):
        assert os.listdir(f"/proc/{pid}/root/") == [], kind
        assert Path(f"/proc/{pid}/cwd").resolve() == Path(f"/proc/{pid}/root").resolve(), kind


def test_workers_hold_no_descriptor_of_a_file(processes: dict[int, str]) -> None:
    """Nor of a directory that has anything in it: one outside the root would be a way out of it."""
    for pid, kind in confined(processes):
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            if int(entry.name) <= 2:  # the daemon's own: its log
                continue
            target = os.readlink(entry)
            harmless = HARMLESS.fullmatch(target) or (entry.is_dir() and not os.listdir(entry))
            assert harmless, f"{kind}: {entry.name} -> {target}"


def test_no_process_leaves_a_core(processes: dict[int, str]) -> None:
    for pid, kind in processes.items():
        limits = Path(f"/proc/{pid}/limits").read_text()
        (line,) = [row for row in limits.splitlines() if row.startswith("Max core file size")]
        assert line.split()[4] == "0", f"{kind}: {line}"


def test_secrets_are_on_no_command_line_and_in_no_environment(processes: dict[int, str]) -> None:
    for pid, kind in processes.items():
        words = Path(f"/proc/{pid}/cmdline").read_text() + Path(f"/proc/{pid}/environ").read_text()
        assert not re.search(r"(?i)(api[_-]?key|secret|token)=", words), kind
