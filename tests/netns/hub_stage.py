"""Owns: a real hub with rules and sandboxes, for tests of the fence itself.

The host is a namespace of the stage's own; sandboxes have no processes but what a test runs inside
them on a thread. Needs root. Knows nothing of workers: a test reads the listeners itself.
"""

import json
import os
import select
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, Final, TypeVar

import pytest

from netmgr.kernel import netns, syscalls
from netmgr.kernel.facts import AllowEntry, HubSpec, Listeners, Netns
from netmgr.kernel.linux import LinuxKernel
from netmgr.kernel.nflog import DeniedPacket, parse_events
from netmgr.model import InstanceName, Lease, SandboxName
from netmgr.process.ipc import FrameReader, encode_frame
from netmgr.testing.netns_thread import NetnsThread

T = TypeVar("T")

IP_RECVERR, MSG_ERRQUEUE = 11, 0x2000

SOON_S: Final = 0.010  # a refusal is immediate (hub attacks, what must be tested forever)
ETH_P_IP: Final = 0x0800
ANSWER_S: Final = 20.0  # loading python-iptables on a busy machine
_HELPER: Final = "import sys; from netmgr.kernel.rules_helper import main; sys.exit(main(3))"


class HelperRefused(Exception):
    """The rules helper answered with an error."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(error["message"])
        self.error = error


class RulesProcess:
    """A rules helper as a process, asked without an event loop."""

    def __init__(self, hub: int, spec: HubSpec) -> None:
        self._sock, theirs = socket.socketpair()
        self._sock.settimeout(ANSWER_S)
        self.process = subprocess.Popen(
            [sys.executable, "-c", f"import os; os.dup2({theirs.fileno()}, 3); {_HELPER}"],
            pass_fds=[theirs.fileno()],
        )
        theirs.close()
        self._reader = FrameReader()
        self._number = 0
        self._read()
        settings = {"instance": spec.instance, "proxy_port": spec.proxy_port}
        self.ask("start", {"settings": settings, "fd_names": ["netns"]}, (hub,))

    def ask(
        self, what: str, body: dict[str, Any] | None = None, fds: tuple[int, ...] = ()
    ) -> dict[str, Any]:
        """Ask and wait for the answer.

        Raises:
            HelperRefused: it answered with an error.
        """
        self._number += 1
        frame = encode_frame({"ask": what, "id": self._number, "body": body or {}}, len(fds))
        socket.send_fds(self._sock, [frame], list(fds))
        reply = self._read()
        if "error" in reply:
            raise HelperRefused(reply["error"])
        found: dict[str, Any] = reply["body"]
        return found

    def _read(self) -> dict[str, Any]:
        while True:
            data = self._sock.recv(1 << 20)
            if not data:
                raise ConnectionError("the rules helper is gone")
            for payload, _ in self._reader.feed(data, ()):
                message: dict[str, Any] = json.loads(payload)
                return message

    def close(self) -> int:
        """End the channel and with it the process; its exit status."""
        self._sock.close()
        return self.process.wait(ANSWER_S)


@dataclass(frozen=True, slots=True)
class StageSandbox:
    """A sandbox of the stage."""

    netns: Netns
    lease: Lease

    @property
    def address(self) -> str:
        """Its own address."""
        return str(self.lease.address)

    def run(self, work: Callable[[], T]) -> T:
        """What `work` gives on a thread inside the sandbox; an exception comes out as it is."""
        results: list[T] = []
        failures: list[BaseException] = []

        def inside() -> None:
            try:
                fd = os.open(self.netns.path, os.O_RDONLY)
                syscalls.setns(fd, syscalls.CLONE_NEWNET)
                os.close(fd)
                results.append(work())
            except BaseException as failure:
                failures.append(failure)

        thread = threading.Thread(target=inside)
        thread.start()
        thread.join(ANSWER_S)
        if failures:
            raise failures[0]
        return results[0]


class HubStage:
    """A hub with its rules.

    Args:
        directory: for named namespaces.
        instance: part of all names; unique per test process.
    """

    def __init__(self, directory: Path, instance: str) -> None:
        self.spec = HubSpec(InstanceName(instance), directory)
        self._thread = NetnsThread()
        self.kernel: Any = self._connect()
        self.kernel.ensure_hub()
        self.rules = RulesProcess(self.kernel.hub_descriptor(), self.spec)
        self.rules.ask("install")
        self.listeners: Listeners = self.kernel.open_listeners(1)

    def _connect(self) -> Any:
        return self._thread.wrap(self._thread.run(LinuxKernel, self.spec))

    def restart(self) -> None:
        """The daemon dies; a new one adopts what stands."""
        self.rules.close()
        self.kernel.close()
        self.kernel = self._connect()
        assert self.kernel.ensure_hub()
        self.rules = RulesProcess(self.kernel.hub_descriptor(), self.spec)
        self.rules.ask("install")
        self.listeners = self.kernel.open_listeners(1)

    def sandbox(self, number: int, *allow: tuple[int, str]) -> StageSandbox:
        """A sandbox with address 10.77.0.<number>, allowed these (port, address)."""
        lease = Lease(IPv4Address("10.77.0.0") + number, f"nm{number}")
        made = self.kernel.make_netns(SandboxName(f"s{number}"))
        self.kernel.add_bind(lease)
        self.kernel.add_allow(
            [AllowEntry.single(lease.address, port, IPv4Address(ip)) for port, ip in allow]
        )
        self.kernel.attach_link(made, lease)
        self.kernel.link_up(lease)
        return StageSandbox(made, lease)

    def in_hub(self, *command: str) -> str:
        """Output of a program in the hub; it must succeed."""
        path = self.spec.netns_dir / self.spec.hub_netns
        return subprocess.run(
            ["nsenter", f"--net={path}", *command], check=True, capture_output=True, text=True
        ).stdout

    def close(self) -> None:
        """Remove everything."""
        self.rules.close()
        self.kernel.remove_hub()
        self.kernel.close()
        for path in netns.list_pins(self.spec.netns_dir, ""):
            netns.delete(path)
        with suppress(OSError):
            syscalls.umount(self.spec.netns_dir)
        self._thread.close()


def ipv4(source: str, destination: str, protocol: int, payload: bytes) -> bytes:
    """An IPv4 packet with a right checksum and any source."""
    head = struct.pack(
        "!BBHHHBBH4s4s",
        0x45,
        0,
        20 + len(payload),
        1,
        0,
        64,
        protocol,
        0,
        socket.inet_aton(source),
        socket.inet_aton(destination),
    )
    total = sum(struct.unpack("!10H", head))
    total = (total & 0xFFFF) + (total >> 16)
    checksum = ~(total + (total >> 16)) & 0xFFFF
    return head[:10] + struct.pack("!H", checksum) + head[12:] + payload


def send_frames(box: StageSandbox, *packets: bytes, times: int = 1) -> None:
    """Put packets on the wire as they are, past the sandbox's own routing."""

    def send() -> None:
        with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_IP)) as sock:
            target = ("eth0", ETH_P_IP, 0, 0, bytes.fromhex("026e6d000001"))
            for _ in range(times):
                for packet in packets:
                    sock.sendto(packet, target)

    box.run(send)


def udp(sport: int, dport: int) -> bytes:
    """An empty datagram."""
    return struct.pack("!HHHH", sport, dport, 8, 0)


def listener(stage: HubStage) -> socket.socket:
    """The proxy's listener, in a test's hands."""
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
    """Events until there are none for `wait_s` seconds."""
    found: list[DeniedPacket] = []
    while select.select([stage.listeners.nflog], [], [], wait_s)[0]:
        found += parse_events(os.read(stage.listeners.nflog, 65536))
    return found
