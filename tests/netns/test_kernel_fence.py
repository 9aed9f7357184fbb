"""The fence on the real kernel: what a sandbox's packets meet, and how soon it is told."""

import errno
import os
import select
import socket
import struct
import threading
from ipaddress import IPv4Network

import pytest
from netns.hub_stage import (
    SOON_S,
    HubStage,
    listener,
    refused_tcp,
    refused_udp,
)

from netmgr.kernel import netns, rtnl, syscalls
from netmgr.kernel.facts import AllowEntry
from netmgr.kernel.netlink import NetlinkSocket
from netmgr.testing.netns_thread import NetnsThread

pytestmark = pytest.mark.root

ALLOWED = "198.18.0.1"


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
    makes or removes links: on a busy host, packets right after a birth were lost."""
    stop = threading.Event()

    def keep_the_lock_busy() -> None:
        while not stop.is_set():  # each round leaves a namespace to be taken down
            syscalls.unshare(syscalls.CLONE_NEWNET)
            sock = NetlinkSocket(rtnl.NETLINK_ROUTE)
            own = netns.open_own()
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
