"""Revocation, ownership, adoption and repair on the real kernel."""

import os
import socket
import struct
import subprocess
import sys
import time
from contextlib import closing
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from netns.hub_stage import (
    SOON_S,
    HubStage,
    StageSandbox,
    ipv4,
    listener,
    refused_tcp,
    send_frames,
)

from netmgr.errors import BadInput, Conflict, HostFailed
from netmgr.kernel.facts import AllowEntry, Flow
from netmgr.kernel.linux import LinuxKernel

pytestmark = pytest.mark.root

ALLOWED = "198.18.0.1"


# -- revocation ------------------------------------------------------------------------------


def test_revocation_destroys_what_lives(stage: HubStage) -> None:
    box = stage.sandbox(2, (443, ALLOWED), (80, ALLOWED))
    with listener(stage) as proxy:
        client = box.run(lambda: socket.create_connection((ALLOWED, 443), 2))
        kept = box.run(lambda: socket.create_connection((ALLOWED, 80), 2))
        flow, _ = proxy.accept()
        kept_flow, _ = proxy.accept()
        assert stage.kernel.count_sockets(box.lease.address) == 2
        stage.kernel.del_allow([AllowEntry.single(box.lease.address, 443, IPv4Address(ALLOWED))])
        start = time.perf_counter()
        left = stage.kernel.destroy_flows(
            [AllowEntry.single(box.lease.address, 443, IPv4Address(ALLOWED))]
        )
        assert left == 0
        client.settimeout(2)
        with pytest.raises(ConnectionResetError):
            client.recv(1)
        assert time.perf_counter() - start < 0.1
        with pytest.raises(ConnectionAbortedError):
            flow.recv(1)  # the worker wakes
        kept.sendall(b"x")
        assert kept_flow.recv(1) == b"x"
        assert stage.kernel.count_sockets(box.lease.address) == 1
        for sock in (client, kept, flow, kept_flow):
            sock.close()


def test_every_state_is_destroyed(stage: HubStage) -> None:
    box = stage.sandbox(2, (443, ALLOWED))
    with listener(stage) as proxy:
        client = box.run(lambda: socket.create_connection((ALLOWED, 443), 2))
        flow, _ = proxy.accept()
        flow.close()  # the hub closes first: TIME_WAIT is on its side
        client.close()
        half_open = struct.pack("!HHIIBBHHH", 4000, 443, 7, 0, 0x50, 2, 1024, 0, 0)
        send_frames(box, ipv4(box.address, ALLOWED, 6, half_open))
    time.sleep(0.05)
    assert stage.kernel.count_sockets(box.lease.address) >= 1
    assert stage.kernel.destroy_sockets(box.lease.address) == 0


def test_the_whole_life_leaves_nothing(stage: HubStage) -> None:
    """A few hundred births and deaths; nothing of them is left."""
    before = (os.listdir("/proc/self/fd"), stage.kernel.survey(), os.listdir(stage.spec.netns_dir))
    for number in range(2, 302):
        box = stage.sandbox(number, (443, ALLOWED))
        allow = AllowEntry.single(box.lease.address, 443, IPv4Address(ALLOWED))
        stage.kernel.del_allow([allow])
        stage.kernel.del_bind(box.lease)
        stage.kernel.detach_link(box.lease)
        assert stage.kernel.destroy_sockets(box.lease.address) == 0
        stage.kernel.delete_netns(box.netns.sandbox)
    after = (os.listdir("/proc/self/fd"), stage.kernel.survey(), os.listdir(stage.spec.netns_dir))
    assert len(after[0]) == len(before[0])
    assert after[1:] == before[1:]
    assert stage.in_hub("ip", "neigh").strip() == ""
    picture = stage.kernel.look_hub()
    assert all(not each.entries for each in picture.sets if not each.name.endswith("-unseen"))


# -- process identity ------------------------------------------------------------------------

HOLD = "import socket,sys; s=socket.create_connection(('198.18.0.1',443)); "


def spawn(box: StageSandbox, code: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        ["nsenter", f"--net={box.netns.path}", sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        text=True,
    )


def test_the_owner_of_a_flow_is_found(stage: HubStage) -> None:
    import hashlib

    box = stage.sandbox(2, (443, ALLOWED))
    with listener(stage) as proxy:
        process = spawn(box, HOLD + "sys.stdin.read()")
        flow, peer = proxy.accept()
        with flow:
            owners = stage.kernel.find_owners(
                box.netns, Flow(box.lease.address, peer[1], IPv4Address(ALLOWED), 443)
            )
            (found,) = owners.processes
            assert found.content is not None
            # While it lives: its program is read through its own /proc entry.
            hashing = stage.kernel.hash_program(box.netns.identity, found.pid, found.content)
            digest = hashing.result(10)
            process.communicate("")
    assert owners.complete
    assert owners.uid == os.getuid()
    exe = os.path.realpath(sys.executable)
    assert (found.pid, found.exe) == (process.pid, exe)
    assert digest == hashlib.sha256(Path(exe).read_bytes()).hexdigest()
    assert found.ancestors == ()  # whoever started it stands outside


def test_every_holder_of_a_socket_is_found(stage: HubStage) -> None:
    box = stage.sandbox(2, (443, ALLOWED))
    with listener(stage) as proxy:
        process = spawn(box, HOLD + "import os; os.fork(); s.sendall(b'x'); sys.stdin.read()")
        flow, peer = proxy.accept()
        with flow:
            flow.settimeout(5)
            got = b""
            while len(got) < 2:
                got += flow.recv(2)
            owners = stage.kernel.find_owners(
                box.netns, Flow(box.lease.address, peer[1], IPv4Address(ALLOWED), 443)
            )
            process.communicate("")
    assert len(owners.processes) == 2


# -- adoption --------------------------------------------------------------------------------


def test_the_fence_stands_without_us_and_is_adopted(stage: HubStage) -> None:
    box = stage.sandbox(2, (443, ALLOWED))
    before = stage.kernel.survey()
    stage.rules.process.kill()
    stage.rules.process.wait()
    assert refused_tcp(box, "93.184.216.34", 443) < SOON_S
    stage.restart()
    assert stage.kernel.survey() == before
    assert stage.kernel.look_sandbox(box.netns, box.lease).differences == ()
    with listener(stage) as proxy:
        box.run(lambda: socket.create_connection((ALLOWED, 443), 2).close())
        proxy.accept()[0].close()


def test_look_tells_what_was_changed_by_hand(stage: HubStage) -> None:
    box = stage.sandbox(2)
    stage.in_hub("ip", "neigh", "flush", "all", "nud", "permanent")
    stage.in_hub("ip", "route", "del", "10.77.0.2/32")
    stage.in_hub("sysctl", "-qw", "net.ipv4.conf.nm2.rp_filter=0")
    stage.in_hub("sysctl", "-qw", "net.ipv4.ip_forward=1")
    words = " / ".join(stage.kernel.look_sandbox(box.netns, box.lease).differences)
    assert "no route 10.77.0.2/32" in words
    assert "no permanent neighbour 10.77.0.2" in words
    assert "rp_filter is 0" in words
    keys = {each.key for each in stage.kernel.look_hub().sysctl_differences}
    assert {"ipv4/ip_forward", "ipv4/conf/nm2/rp_filter"} <= keys
    stage.kernel.ensure_hub()
    assert "ipv4/ip_forward" not in {
        each.key for each in stage.kernel.look_hub().sysctl_differences
    }


def test_a_hub_is_one_daemons_alone(stage: HubStage) -> None:
    with closing(LinuxKernel(stage.spec)) as other:
        with pytest.raises(Conflict, match="another daemon of instance"):
            other.ensure_hub()
        stage.kernel.remove_hub()
        assert stage.kernel.ensure_hub() is False  # made anew, and held again
        with pytest.raises(Conflict):
            other.ensure_hub()
    stage.restart()  # whoever comes after it takes it over


def test_a_hub_with_an_uplink_is_refused(stage: HubStage) -> None:
    stage.in_hub("ip", "link", "add", "up0", "type", "bridge")
    with pytest.raises(HostFailed, match="up0"):
        stage.kernel.ensure_hub()


def test_pin_refuses_what_is_no_namespace(stage: HubStage, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.touch()
    for wrong in (plain, tmp_path, Path("/dev/null"), Path("/proc/self/ns/mnt")):
        with pytest.raises(BadInput):
            stage.kernel.pin_netns("one", wrong)


def test_what_a_killed_creation_left_is_taken_over(stage: HubStage) -> None:
    stage.spec.netns_path("one").touch()
    assert stage.kernel.survey().netns["one"].identity.inode == 0
    assert stage.kernel.make_netns("one").identity.inode != 0
