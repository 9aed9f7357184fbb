"""One suite for every `Kernel`: the one in memory and the one of this machine's kernel."""

import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any, Protocol

import pytest

from netmgr.errors import Conflict, LimitExceeded, NotFound
from netmgr.kernel import netns, syscalls
from netmgr.kernel.facts import AllowEntry, Counters, Flow, HubSpec, Owners, Standing
from netmgr.kernel.kernel import Kernel
from netmgr.kernel.linux import LinuxKernel
from netmgr.model import InstanceName, Lease, SandboxName
from netmgr.testing.fake_kernel import FakeKernel
from netmgr.testing.fake_world import FakeWorld
from netmgr.testing.netns_thread import NetnsThread

ONE, TWO = SandboxName("one"), SandboxName("two")
LEASE = Lease(IPv4Address("10.77.0.2"), "nm2")
OTHER = Lease(IPv4Address("10.77.0.3"), "nm3")
NAME_IP = IPv4Address("198.18.0.1")


class Bench(Protocol):
    """A kernel to try, and what a test needs around it."""

    kernel: Any
    spec: HubSpec

    def restart(self) -> None:
        """The daemon dies and a new one comes up."""

    def foreign(self, name: str, *links: str) -> Path:
        """A namespace that somebody else made."""

    def host_path(self) -> Path:
        """A path to the host's own namespace."""


class FakeBench:
    def __init__(self, spec: HubSpec) -> None:
        self.spec = spec
        self.world = FakeWorld()
        self.kernel: Kernel = FakeKernel(spec, self.world)

    def restart(self) -> None:
        self.kernel.close()
        self.kernel = FakeKernel(self.spec, self.world)

    def foreign(self, name: str, *links: str) -> Path:
        path = Path("/run/foreign") / name
        self.world.add_foreign(path, links)
        return path

    def host_path(self) -> Path:
        self.world.foreign[Path("/proc/1/ns/net")] = self.world.host
        return Path("/proc/1/ns/net")

    def end(self) -> None:
        self.kernel.close()


class LinuxBench:
    def __init__(self, spec: HubSpec) -> None:
        self.spec = spec
        self.thread = NetnsThread()
        self.kernel: Any = self._connect()
        self._foreign: list[Path] = []

    def _connect(self) -> Any:
        return self.thread.wrap(self.thread.run(LinuxKernel, self.spec))

    def restart(self) -> None:
        self.kernel.close()
        self.kernel = self._connect()

    def foreign(self, name: str, *links: str) -> Path:
        path = self.spec.netns_dir / name
        self.thread.run(netns.create, path)
        self._foreign.append(path)
        for link in links:
            os.system(f"nsenter --net={path} ip link add {link} type veth peer name peer0")
        return path

    def host_path(self) -> Path:
        return Path(f"/proc/{os.getpid()}/task/{self.thread.run(threading.get_native_id)}/ns/net")

    def end(self) -> None:
        self.kernel.remove_hub()
        self.kernel.close()
        for path in netns.list_pins(self.spec.netns_dir, ""):
            netns.delete(path)
        syscalls.umount(self.spec.netns_dir)
        self.thread.close()


@pytest.fixture(params=["fake", pytest.param("linux", marks=pytest.mark.root)])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    spec = HubSpec(
        InstanceName(f"t{os.getpid()}x"),
        tmp_path / "netns",
        max_sandboxes=64,
        max_allow=8,
        max_networks=4,
    )
    made = FakeBench(spec) if request.param == "fake" else LinuxBench(spec)
    made.kernel.ensure_hub()
    yield made
    made.end()


def born(kernel: Any, sandbox: SandboxName, lease: Lease) -> Any:
    found = kernel.make_netns(sandbox)
    kernel.add_bind(lease)
    kernel.attach_link(found, lease)
    kernel.link_up(lease)
    return found


# -- the hub ---------------------------------------------------------------------------------


def test_a_second_hub_is_the_first(bench: Bench) -> None:
    before = bench.kernel.look_hub().netns.inode
    assert bench.kernel.ensure_hub() is True
    assert bench.kernel.look_hub().netns.inode == before


def test_a_hub_survives_its_daemon(bench: Bench) -> None:
    before = bench.kernel.look_hub().netns.inode
    bench.restart()
    with pytest.raises(NotFound):
        bench.kernel.hub_descriptor()
    assert bench.kernel.ensure_hub() is True
    assert bench.kernel.look_hub().netns.inode == before


def test_a_removed_hub_is_gone_with_all_in_it(bench: Bench) -> None:
    born(bench.kernel, ONE, LEASE)
    bench.kernel.remove_hub()
    assert bench.kernel.ensure_hub() is False
    found = bench.kernel.survey()
    assert (found.links, found.binds, found.routes) == ({}, frozenset(), frozenset())


def test_listeners_are_opened_once(bench: Bench) -> None:
    found = bench.kernel.open_listeners(2)
    assert len(found.proxy) == 2
    assert bench.kernel.open_listeners(2) == found
    with pytest.raises(Conflict):
        bench.kernel.open_listeners(3)


# -- namespaces ------------------------------------------------------------------------------


def test_make_find_delete(bench: Bench) -> None:
    assert bench.kernel.find_netns(ONE) is None
    made = bench.kernel.make_netns(ONE)
    assert made.path == bench.spec.netns_dir / f"{bench.spec.instance}-one"
    assert bench.kernel.find_netns(ONE) == made
    assert bench.kernel.survey().netns == {ONE: made}
    bench.kernel.delete_netns(ONE)
    assert bench.kernel.find_netns(ONE) is None


def test_a_taken_name_is_a_conflict(bench: Bench) -> None:
    made = bench.kernel.make_netns(ONE)
    path = bench.foreign("other")
    with pytest.raises(Conflict):
        bench.kernel.make_netns(ONE)
    with pytest.raises(Conflict):
        bench.kernel.pin_netns(ONE, path)
    assert bench.kernel.find_netns(ONE) == made


def test_delete_twice_is_once(bench: Bench) -> None:
    bench.kernel.make_netns(ONE)
    bench.kernel.delete_netns(ONE)
    bench.kernel.delete_netns(ONE)


def test_pin_what_others_made(bench: Bench) -> None:
    path = bench.foreign("other")
    pinned = bench.kernel.pin_netns(ONE, path)
    assert pinned.path == bench.spec.netns_path(ONE)
    assert bench.kernel.find_netns(ONE) == pinned
    bench.kernel.delete_netns(ONE)
    assert bench.kernel.pin_netns(TWO, path).identity == pinned.identity


def test_pin_refuses_what_is_taken(bench: Bench) -> None:
    made = bench.kernel.make_netns(ONE)
    hub = bench.spec.netns_dir / bench.spec.hub_netns
    for path in (made.path, hub, bench.host_path()):
        with pytest.raises(Conflict):
            bench.kernel.pin_netns(TWO, path)
    assert bench.kernel.find_netns(TWO) is None


def test_pin_refuses_a_second_door(bench: Bench) -> None:
    with pytest.raises(Conflict, match="links besides lo"):
        bench.kernel.pin_netns(ONE, bench.foreign("other", "eth7"))
    assert bench.kernel.find_netns(ONE) is None


def test_pin_replaces_the_doors_of_others_where_asked(bench: Bench) -> None:
    path = bench.foreign("other", "eth7")
    pinned = bench.kernel.pin_netns(ONE, path, replace_links=True)
    bench.kernel.delete_netns(ONE)
    assert bench.kernel.pin_netns(TWO, path).identity == pinned.identity


def test_pin_refuses_what_is_not_there(bench: Bench) -> None:
    with pytest.raises(NotFound):
        bench.kernel.pin_netns(ONE, bench.spec.netns_dir / "absent")
    with pytest.raises(NotFound):
        bench.kernel.pin_netns(ONE, 2**22 + 1)  # beyond the largest pid (proc(5), pid_max)


# -- sets ------------------------------------------------------------------------------------


def test_bind_twice_is_once(bench: Bench) -> None:
    bench.kernel.add_bind(LEASE)
    bench.kernel.add_bind(LEASE)
    assert bench.kernel.survey().binds == {LEASE}
    assert bench.kernel.counters(LEASE) == Counters()
    assert bench.kernel.refusals() == {LEASE: Counters()}
    bench.kernel.del_bind(LEASE)
    bench.kernel.del_bind(LEASE)
    assert bench.kernel.survey().binds == frozenset()
    assert bench.kernel.refusals() == {}


def test_counters_of_nobody_are_zero(bench: Bench) -> None:
    assert bench.kernel.counters(OTHER) == Counters()


def test_allow_and_take_back(bench: Bench) -> None:
    entries = {
        AllowEntry.single(LEASE.address, 443, NAME_IP),
        AllowEntry(LEASE.address, 5432, IPv4Network("10.1.0.0/16")),
        AllowEntry(LEASE.address, 80, IPv4Network("0.0.0.0/0")),
    }
    bench.kernel.add_allow(entries)
    bench.kernel.add_allow(entries)
    assert bench.kernel.survey().allow == entries
    bench.kernel.del_allow(entries)
    bench.kernel.del_allow(entries)
    assert bench.kernel.survey().allow == frozenset()


def test_a_full_set_says_so(bench: Bench) -> None:
    entries = [AllowEntry.single(LEASE.address, 443, NAME_IP + n) for n in range(8)]
    bench.kernel.add_allow(entries)
    with pytest.raises(LimitExceeded, match=f"set {bench.spec.instance}-allow is full"):
        bench.kernel.add_allow([AllowEntry.single(LEASE.address, 443, NAME_IP + 8)])
    bench.kernel.add_allow(entries)  # what stands is no new entry
    assert bench.kernel.survey().allow == frozenset(entries)


# -- links -----------------------------------------------------------------------------------


def test_a_link_comes_up_last(bench: Bench) -> None:
    made = bench.kernel.make_netns(ONE)
    bench.kernel.add_bind(LEASE)
    bench.kernel.attach_link(made, LEASE)
    found = bench.kernel.survey()
    assert found.links[LEASE.link].up is False
    assert found.routes == frozenset()
    bench.kernel.link_up(LEASE)
    found = bench.kernel.survey()
    assert found.links[LEASE.link].up is True
    assert found.routes == {LEASE}


def test_what_stands_of_one_sandbox_is_told(bench: Bench) -> None:
    kept = AllowEntry.single(LEASE.address, 443, NAME_IP)
    entries = {
        kept,
        AllowEntry.single(LEASE.address, 443, NAME_IP + 1),
        AllowEntry(LEASE.address, 5432, IPv4Network("10.1.0.0/16")),
        AllowEntry(LEASE.address, 80, IPv4Network("0.0.0.0/0")),
    }
    nothing = Standing(link=False, bound=False, routed=False, lost=frozenset(entries))
    assert bench.kernel.standing(LEASE, entries) == nothing
    born(bench.kernel, ONE, LEASE)
    bench.kernel.add_allow(entries)
    whole = Standing(link=True, bound=True, routed=True, lost=frozenset())
    assert bench.kernel.standing(LEASE, entries) == whole
    bench.kernel.del_bind(LEASE)
    bench.kernel.del_allow(entries - {kept})
    lost = frozenset(entries - {kept})
    assert bench.kernel.standing(LEASE, entries) == replace(whole, bound=False, lost=lost)
    assert bench.kernel.standing(OTHER, ()) == replace(nothing, lost=frozenset())


def test_a_born_sandbox_looks_right(bench: Bench) -> None:
    made = born(bench.kernel, ONE, LEASE)
    picture = bench.kernel.look_sandbox(made, LEASE)
    assert picture.differences == ()
    assert picture.bound
    assert picture.hub_route
    assert picture.hub_neighbour
    assert picture.hub_link.up
    assert not picture.hub_link.arp


def test_two_links_of_one_name_conflict(bench: Bench) -> None:
    born(bench.kernel, ONE, LEASE)
    second = bench.kernel.make_netns(TWO)
    with pytest.raises(Conflict, match="nm2"):
        bench.kernel.attach_link(second, LEASE)
    bench.kernel.attach_link(second, OTHER)


def test_two_doors_of_one_namespace_conflict(bench: Bench) -> None:
    made = born(bench.kernel, ONE, LEASE)
    with pytest.raises(Conflict, match="eth0"):
        bench.kernel.attach_link(made, OTHER)
    assert set(bench.kernel.survey().links) == {LEASE.link}


def test_detach_twice_is_once(bench: Bench) -> None:
    made = born(bench.kernel, ONE, LEASE)
    bench.kernel.detach_link(LEASE)
    bench.kernel.detach_link(LEASE)
    found = bench.kernel.survey()
    assert (found.links, found.routes) == ({}, frozenset())
    assert bench.kernel.look_sandbox(made, LEASE).differences != ()
    bench.kernel.attach_link(made, LEASE)
    bench.kernel.link_up(LEASE)


def test_up_wants_a_link(bench: Bench) -> None:
    with pytest.raises(NotFound):
        bench.kernel.link_up(LEASE)


def test_attach_wants_the_namespace_that_was_meant(bench: Bench) -> None:
    made = bench.kernel.make_netns(ONE)
    bench.kernel.delete_netns(ONE)
    with pytest.raises(NotFound):
        bench.kernel.attach_link(made, LEASE)
    assert bench.kernel.survey().links == {}


def test_everything_is_found_again(bench: Bench) -> None:
    made = born(bench.kernel, ONE, LEASE)
    allow = AllowEntry.single(LEASE.address, 443, NAME_IP)
    bench.kernel.add_allow([allow])
    before = bench.kernel.survey()
    bench.restart()
    bench.kernel.ensure_hub()
    assert bench.kernel.survey() == before
    assert before.netns == {ONE: made}
    assert bench.kernel.look_sandbox(made, LEASE).differences == ()


# -- sockets ---------------------------------------------------------------------------------


def test_nobody_has_sockets_or_owners(bench: Bench) -> None:
    made = born(bench.kernel, ONE, LEASE)
    assert bench.kernel.count_sockets(LEASE.address) == 0
    assert bench.kernel.destroy_sockets(LEASE.address) == 0
    assert (
        bench.kernel.destroy_flows(
            [AllowEntry.single(LEASE.address, 443, IPv4Address("198.18.0.1"))]
        )
        == 0
    )
    flow = Flow(LEASE.address, 40000, NAME_IP, 443)
    assert bench.kernel.find_owners(made, flow) == Owners()


def test_muting_counts_nothing_where_nothing_comes(bench: Bench) -> None:
    bench.kernel.add_bind(LEASE)
    assert bench.kernel.unmute_spoofing() == {}
    bench.kernel.mute_spoofing([LEASE.link])
    bench.kernel.mute_spoofing([LEASE.link, OTHER.link])
    assert bench.kernel.unmute_spoofing() == {LEASE.link: 0, OTHER.link: 0}
    assert bench.kernel.unmute_spoofing() == {}


def test_more_links_than_can_be_muted_are_no_error(bench: Bench) -> None:
    bench.kernel.mute_spoofing([f"nm{n}" for n in range(80)])
    assert len(bench.kernel.unmute_spoofing()) == 64
