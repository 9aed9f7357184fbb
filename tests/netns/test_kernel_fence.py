"""The fence on the real kernel: what a sandbox's packets meet, and how soon it is told."""

import errno
import os
import select
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest
from netns.hub_stage import HubStage, StageSandbox, ipv4, send_frames, udp

from netmgr.errors import BadInput, HostFailed
from netmgr.kernel import netns, rtnl
from netmgr.kernel.facts import AllowEntry, Counters, Flow
from netmgr.kernel.netlink import NetlinkSocket
from netmgr.kernel.nflog import DeniedPacket, parse_events
from netmgr.kernel.ruleset import GROUP_DENIED, GROUP_SPOOFED, GROUP_UNSEEN, LOG_BUDGET
from netmgr.testing.netns_thread import NetnsThread

pytestmark = pytest.mark.root

ALLOWED = "198.18.0.1"
SOON_S = 0.010  # a refusal is immediate (hub-attacks.md §9)
IP_RECVERR, MSG_ERRQUEUE = 11, 0x2000


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[HubStage]:
    made = HubStage(tmp_path / "netns", f"t{os.getpid()}x")
    yield made
    made.close()


def listener(stage: HubStage) -> socket.socket:
    found = socket.socket(fileno=os.dup(stage.listeners.proxy[0]))
    found.settimeout(2)
    return found


def quickest(attempt: Callable[[], float]) -> float:
    """The best of some tries: a neighbour's load is not the kernel's delay."""
    return min(attempt() for _ in range(5))


def refused_tcp(box: StageSandbox, ip: str, port: int) -> float:
    """Seconds until a connection is refused; anything else is a failure."""

    def dial() -> float:
        with socket.socket() as sock:
            sock.settimeout(2)
            start = time.perf_counter()
            with pytest.raises(ConnectionRefusedError):
                sock.connect((ip, port))
            return time.perf_counter() - start

    return quickest(lambda: box.run(dial))


def refused_udp(box: StageSandbox, ip: str, port: int) -> tuple[float, int, int]:
    """Seconds until a datagram is refused, and the ICMP type and code that said so."""

    def send() -> tuple[float, int, int]:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setsockopt(socket.SOL_IP, IP_RECVERR, 1)
            start = time.perf_counter()
            sock.sendto(b"x", (ip, port))
            assert select.select([], [], [sock], 0) is not None
            poll = select.poll()
            poll.register(sock, select.POLLERR)
            assert poll.poll(2000), "no refusal came"
            took = time.perf_counter() - start
            _, ancillary, _, _ = sock.recvmsg(64, 256, MSG_ERRQUEUE)
            _, origin, kind, code = struct.unpack_from("=IBBB", ancillary[0][2])
            assert origin == 2  # SO_EE_ORIGIN_ICMP
            return took, kind, code

    found = [box.run(send) for _ in range(5)]
    return min(took for took, _, _ in found), found[0][1], found[0][2]


def read_log(stage: HubStage, wait_s: float = 0.3) -> list[DeniedPacket]:
    found: list[DeniedPacket] = []
    while select.select([stage.listeners.nflog], [], [], wait_s)[0]:
        found += parse_events(os.read(stage.listeners.nflog, 65536))
    return found


# -- what passes -----------------------------------------------------------------------------


def test_an_allowed_name_reaches_the_proxy(stage: HubStage) -> None:
    box = stage.sandbox(2, (443, ALLOWED))
    with listener(stage) as proxy:

        def dial() -> bytes:
            with socket.socket() as sock:
                sock.settimeout(2)
                sock.bind(("0.0.0.0", 48123))
                sock.connect((ALLOWED, 443))
                return sock.recv(5)

        answers: list[bytes] = []
        client = threading.Thread(target=lambda: answers.append(box.run(dial)))
        client.start()
        flow, peer = proxy.accept()
        with flow:
            assert flow.getsockname() == (ALLOWED, 443)  # the original destination
            assert peer == ("10.77.0.2", 48123)  # the very port: process identity needs it
            flow.sendall(b"hello")
            client.join(5)
        assert answers == [b"hello"]


def test_a_network_reaches_the_proxy(stage: HubStage) -> None:
    box = stage.sandbox(2)
    stage.kernel.add_allow([AllowEntry(box.lease.address, 5432, IPv4Network("10.9.0.0/16"))])
    with listener(stage) as proxy:
        box.run(lambda: socket.create_connection(("10.9.8.7", 5432), 2).close())
        flow, _ = proxy.accept()
        with flow:
            assert flow.getsockname() == ("10.9.8.7", 5432)
    assert refused_tcp(box, "10.10.0.1", 5432) < 2
    assert refused_tcp(box, "10.9.8.7", 5433) < 2


@pytest.mark.parametrize("server", ["8.8.8.8", "169.254.77.1", "10.77.0.3"])
def test_dns_to_any_server_is_ours(stage: HubStage, server: str) -> None:
    box = stage.sandbox(2)
    with socket.socket(fileno=os.dup(stage.listeners.dns_udp)) as resolver:
        resolver.settimeout(2)

        def ask() -> tuple[bytes, str]:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.settimeout(2)
                sock.sendto(b"question", (server, 53))
                data, sender = sock.recvfrom(64)
                return data, sender[0]

        answers: list[tuple[bytes, str]] = []
        client = threading.Thread(target=lambda: answers.append(box.run(ask)))
        client.start()
        select.select([resolver], [], [], 2)
        data, ancillary, _, asker = resolver.recvmsg(64, 64)
        assert (data, asker[0]) == (b"question", "10.77.0.2")
        pktinfo = ancillary[0][2]
        assert socket.inet_ntoa(pktinfo[8:12]) == server
        reply_from = struct.pack("=I4s4s", 0, pktinfo[8:12], bytes(4))
        resolver.sendmsg([b"answer"], [(socket.SOL_IP, 8, reply_from)], 0, asker)
        client.join(5)
        assert answers == [(b"answer", server)]


def test_the_first_packet_after_birth_arrives(stage: HubStage) -> None:
    """The kernel gives a fresh link its queue from a worker that shares a lock with everybody who
    makes or removes links; ready means ready all the same."""
    stop = threading.Event()

    def keep_the_lock_busy() -> None:
        sock = NetlinkSocket(rtnl.NETLINK_ROUTE)
        own = netns.open_own()
        while not stop.is_set():
            sock.run([rtnl.new_veth("a", "02:00:00:00:00:01", "b", "02:00:00:00:00:02", own)])
            sock.run([rtnl.del_link("a")])
        os.close(own)
        sock.close()

    def ask_once() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"first", ("8.8.8.8", 53))

    neighbours = [NetnsThread() for _ in range(3)]
    busy = [threading.Thread(target=each.run, args=(keep_the_lock_busy,)) for each in neighbours]
    for thread in busy:
        thread.start()
    try:
        with socket.socket(fileno=os.dup(stage.listeners.dns_udp)) as resolver:
            for number in range(2, 32):
                stage.sandbox(number).run(ask_once)
                assert select.select([resolver], [], [], 1)[0], f"birth {number}"
                assert resolver.recv(64) == b"first"
    finally:
        stop.set()
        for thread, each in zip(busy, neighbours, strict=True):
            thread.join()
            each.close()


def test_dns_over_tcp_is_ours(stage: HubStage) -> None:
    box = stage.sandbox(2)
    with socket.socket(fileno=os.dup(stage.listeners.dns_tcp)) as resolver:
        resolver.settimeout(2)
        box.run(lambda: socket.create_connection(("9.9.9.9", 53), 2).close())
        select.select([resolver], [], [], 2)
        flow, _ = resolver.accept()
        with flow:
            assert flow.getsockname() == ("9.9.9.9", 53)


def test_loopback_inside_works_in_both_families(stage: HubStage) -> None:
    box = stage.sandbox(2)

    def talk() -> list[str]:
        found = []
        for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            with socket.create_server((host, 0), family=family) as server:
                socket.create_connection(server.getsockname()[:2], 2).close()
                found.append(host)
        return found

    assert box.run(talk) == ["127.0.0.1", "::1"]


# -- what does not ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ip", "port"),
    [
        (ALLOWED, 80),  # another port
        ("198.18.0.9", 443),  # a name that only the neighbour may use
        ("93.184.216.34", 443),  # a literal address
        ("10.77.0.3", 443),  # the neighbour itself
        ("169.254.77.1", 8443),  # the hub
        ("198.18.0.1", 8443),  # the proxy port undirected
    ],
)
def test_denied_tcp_is_reset_at_once(stage: HubStage, ip: str, port: int) -> None:
    box = stage.sandbox(2, (443, ALLOWED))
    stage.sandbox(3, (443, "198.18.0.9"))
    assert refused_tcp(box, ip, port) < SOON_S


@pytest.mark.parametrize("ip", ["93.184.216.34", "10.77.0.3", "169.254.77.1", ALLOWED])
def test_denied_udp_is_prohibited_at_once(stage: HubStage, ip: str) -> None:
    box = stage.sandbox(2, (443, ALLOWED))
    stage.sandbox(3)
    took, kind, code = refused_udp(box, ip, 443)
    assert (kind, code) == (3, 13)
    assert took < SOON_S


def test_denied_echo_is_prohibited(stage: HubStage) -> None:
    box = stage.sandbox(2)

    def ping() -> bytes:
        with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as sock:
            sock.settimeout(2)
            echo = struct.pack("!BBHHH", 8, 0, 0xF7FD, 1, 1)
            sock.sendto(echo, ("93.184.216.34", 0))
            return sock.recv(128)

    reply = box.run(ping)
    assert tuple(reply[20:22]) == (3, 13)


def test_ipv6_has_no_way(stage: HubStage) -> None:
    box = stage.sandbox(2)

    def dial() -> int:
        with socket.socket(socket.AF_INET6) as sock:
            return sock.connect_ex(("2001:db8::1", 443))

    assert box.run(dial) in (errno.ENETUNREACH, errno.EADDRNOTAVAIL)


def test_a_false_source_is_dropped_counted_and_logged(stage: HubStage) -> None:
    box, other = stage.sandbox(2), stage.sandbox(3, (443, ALLOWED))
    for source in (other.address, "169.254.77.1", "127.0.0.1", "8.8.8.8"):
        send_frames(box, ipv4(source, ALLOWED, 17, udp(1000, 53)))
    events = read_log(stage)
    assert [event.group for event in events] == [GROUP_SPOOFED] * 4
    assert {str(event.source) for event in events} >= {other.address, "8.8.8.8"}
    assert stage.kernel.counters(box.lease) == Counters()  # of its own address there was nothing
    assert stage.kernel.counters(other.lease) == Counters()  # nobody else is blamed
    with socket.socket(fileno=os.dup(stage.listeners.dns_udp)) as resolver:
        assert not select.select([resolver], [], [], 0)[0]


@pytest.mark.parametrize("ip", ["127.0.0.1", "0.1.2.3", "239.1.2.3"])
def test_what_never_reaches_input_is_logged(stage: HubStage, ip: str) -> None:
    box = stage.sandbox(2)
    send_frames(box, ipv4(box.address, ip, 17, udp(1000, 5353)))
    events = read_log(stage)
    assert [(e.group, str(e.destination), e.dport) for e in events] == [(GROUP_UNSEEN, ip, 5353)]
    assert stage.kernel.counters(box.lease).denied_packets == 1


def test_a_denial_is_logged_with_its_particulars(stage: HubStage) -> None:
    box = stage.sandbox(2)
    refused_tcp(box, "93.184.216.34", 8080)
    event = read_log(stage)[0]
    assert event.group == GROUP_DENIED
    assert str(event.source) == box.address
    assert (str(event.destination), event.dport) == ("93.184.216.34", 8080)
    assert event.protocol == socket.IPPROTO_TCP
    assert event.sport is not None
    assert event.ifindex == stage.kernel.survey().links[box.lease.link].index


def test_one_sandbox_cannot_silence_another(stage: HubStage) -> None:
    loud, quiet = stage.sandbox(2), stage.sandbox(3)
    noise = [ipv4(loud.address, f"93.184.{n}.1", 17, udp(1000, 99)) for n in range(250)]
    send_frames(loud, *noise, times=2)
    send_frames(quiet, ipv4(quiet.address, "93.184.216.34", 17, udp(1000, 99)))
    events = read_log(stage)
    from_loud = sum(str(event.source) == loud.address for event in events)
    assert LOG_BUDGET <= from_loud <= 2 * LOG_BUDGET  # the flood may straddle two seconds
    assert sum(str(event.source) == quiet.address for event in events) == 1
    assert stage.kernel.counters(loud.lease).denied_packets == 500  # exact all the same


def test_one_sandbox_cannot_use_up_the_refusals_of_another(stage: HubStage) -> None:
    loud, quiet = stage.sandbox(2), stage.sandbox(3)
    send_frames(loud, ipv4(loud.address, "93.184.216.34", 17, udp(1000, 99)), times=3000)
    took, kind, code = refused_udp(quiet, "93.184.216.34", 443)
    assert (kind, code) == (3, 13)
    assert took < SOON_S


def test_a_budget_renews_itself_after_a_second(stage: HubStage) -> None:
    box = stage.sandbox(2)
    packet = ipv4(box.address, "93.184.216.34", 17, udp(1000, 99))
    send_frames(box, packet, times=200)
    time.sleep(1.2)
    read_log(stage, 0.05)
    send_frames(box, packet)
    assert len(read_log(stage)) == 1


def test_a_muted_link_is_counted_and_silences_nobody(stage: HubStage) -> None:
    loud, quiet = stage.sandbox(2), stage.sandbox(3)
    packet = ipv4("8.8.8.8", ALLOWED, 17, udp(1000, 53))
    send_frames(loud, packet, times=200)
    assert len(read_log(stage)) == 200
    stage.kernel.mute_spoofing([loud.lease.link])
    send_frames(loud, packet, times=5000)
    send_frames(quiet, packet)
    (event,) = read_log(stage)
    assert event.ifindex == stage.kernel.survey().links[quiet.lease.link].index
    assert stage.kernel.unmute_spoofing() == {loud.lease.link: 5000}
    send_frames(loud, packet)
    assert len(read_log(stage)) == 1


def test_allowed_packets_are_counted_once(stage: HubStage) -> None:
    box = stage.sandbox(2, (443, ALLOWED))
    with listener(stage) as proxy:
        box.run(lambda: socket.create_connection((ALLOWED, 443), 2).close())
        proxy.accept()[0].close()
    time.sleep(0.05)
    found = stage.kernel.counters(box.lease)
    assert 3 <= found.allowed_packets <= 5  # SYN, ACK, FIN, ACK: each once
    assert found.denied_packets == 0


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
        left = stage.kernel.destroy_sockets(box.lease.address, IPv4Network(f"{ALLOWED}/32"), 443)
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
            process.communicate("")
    assert owners.complete
    assert owners.uid == os.getuid()
    (found,) = owners.processes
    exe = os.path.realpath(sys.executable)
    assert (found.pid, found.exe) == (process.pid, exe)
    assert found.sha256 == hashlib.sha256(Path(exe).read_bytes()).hexdigest()
    assert os.getpid() in [ancestor.pid for ancestor in found.ancestors]


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
