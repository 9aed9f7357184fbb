"""Owns: every frame on every link of a world, and the questions a test asks of them.

Silence is proven here and nowhere else: a client's error shows only that no answer came back.
Knows nothing of netmgr.
"""

import contextlib
import ipaddress
import selectors
import socket
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from world.namespaces import Namespace

MAX_FRAMES: Final = 400_000  # a flood of some seconds; beyond it a capture says that it is partial
MAX_BYTES: Final = 256 * 1024 * 1024
RECEIVE_BUFFER: Final = 32 * 1024 * 1024  # kernel side; a burst while this thread sleeps
SNAP: Final = 65_600  # a whole segment as the kernel hands it over (GSO, 64 KiB and headers)
MAX_DRAIN: Final = 50_000  # frames of one namespace per turn, so that a flood starves no other
SETTLE_S: Final = 0.05  # veth delivery is a softirq away; then every socket is drained

_ETH_P_ALL: Final = 0x0003
_SOL_PACKET: Final = 263
_PACKET_STATISTICS: Final = 6
_IPV4, _IPV6, _VLAN = 0x0800, 0x86DD, 0x8100
_TCP, _UDP, _UDPLITE = 6, 17, 136


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame as one link saw it.

    Attributes:
        time: seconds of the monotonic clock.
        place: label of the namespace.
        link: name of the link in it.
        outgoing: sent by that namespace (else received, or for another host).
        src, dst: IP addresses as text, or None for what is not IP.
        protocol: IP protocol number, or None.
        sport, dport: ports of TCP, UDP and UDP-Lite, else None.
    """

    time: float
    place: str
    link: str
    outgoing: bool
    data: bytes
    src: str | None = None
    dst: str | None = None
    protocol: int | None = None
    sport: int | None = None
    dport: int | None = None

    def __str__(self) -> str:
        arrow = "out" if self.outgoing else "in "
        ends = f"{self.src}:{self.sport} > {self.dst}:{self.dport} proto {self.protocol}"
        what = ends if self.src else f"ethertype {self.data[12:14].hex()}"
        return f"{self.place}/{self.link} {arrow} {what} {len(self.data)} bytes"


def parse_frame(when: float, place: str, link: str, outgoing: bool, data: bytes) -> Frame:
    """Read the addresses that are there; what is cut short or unknown stays None."""
    facts: tuple[str | None, str | None, int | None, int | None, int | None]
    facts = (None, None, None, None, None)
    with contextlib.suppress(struct.error, ValueError, IndexError):
        facts = _addresses(data)
    return Frame(when, place, link, outgoing, data, *facts)


def _addresses(
    data: bytes,
) -> tuple[str | None, str | None, int | None, int | None, int | None]:
    (kind,) = struct.unpack_from("!H", data, 12)
    at = 14
    if kind == _VLAN:
        (kind,) = struct.unpack_from("!H", data, 16)
        at = 18
    if kind == _IPV4:
        protocol, body = data[at + 9], at + (data[at] & 15) * 4
        src, dst = data[at + 12 : at + 16], data[at + 16 : at + 20]
        (offset,) = struct.unpack_from("!H", data, at + 6)
        first = offset & 0x1FFF == 0
    elif kind == _IPV6:
        protocol, body, first = data[at + 6], at + 40, True
        src, dst = data[at + 8 : at + 24], data[at + 24 : at + 40]
    else:
        return None, None, None, None, None
    ports: tuple[int | None, int | None] = (None, None)
    if first and protocol in (_TCP, _UDP, _UDPLITE) and len(data) >= body + 4:
        ports = struct.unpack_from("!HH", data, body)
    return str(ipaddress.ip_address(src)), str(ipaddress.ip_address(dst)), protocol, *ports


class Capture:
    """Packet sockets on namespaces, read by one thread. `close` it."""

    def __init__(self) -> None:
        self._frames: list[Frame] = []
        self._bytes = 0
        self._partial: str | None = None
        self._lock = threading.Lock()
        self._sockets: dict[str, socket.socket] = {}
        self._selector = selectors.DefaultSelector()
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.setblocking(False)
        self._selector.register(self._wake_in, selectors.EVENT_READ)
        self._turn = threading.Condition()
        self._asked = 0  # settle() asks for a turn by number; the thread says which it finished
        self._finished = 0
        self._ending = False
        self._thread = threading.Thread(target=self._read, name="capture", daemon=True)
        self._thread.start()

    # -- what is watched -------------------------------------------------------------------

    def watch(self, place: str, namespace: Namespace) -> None:
        """Record every link of `namespace`, also those that come later, under the label `place`."""
        sock = namespace.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
        sock.setsockopt(socket.SOL_SOCKET, 33, RECEIVE_BUFFER)  # SO_RCVBUFFORCE
        sock.setblocking(False)
        self.forget(place)
        with self._lock:
            self._sockets[place] = sock
            self._selector.register(sock, selectors.EVENT_READ, place)
        self._wake()

    def forget(self, place: str) -> None:
        """Stop watching; what was recorded stays."""
        with self._lock:
            sock = self._sockets.pop(place, None)
            if sock is not None:
                self._selector.unregister(sock)
                sock.close()

    def close(self) -> None:
        """Stop the thread and close every socket."""
        self._ending = True
        self._wake()
        self._thread.join(timeout=5)
        for place in list(self._sockets):
            self.forget(place)
        self._selector.close()
        self._wake_in.close()
        self._wake_out.close()

    # -- what a test asks ------------------------------------------------------------------

    def frames(
        self,
        place: str | None = None,
        *,
        link: str | None = None,
        containing: bytes | None = None,
        src: str | None = None,
        dst: str | None = None,
        protocol: int | None = None,
        dport: int | None = None,
        outgoing: bool | None = None,
        since: float = 0.0,
    ) -> list[Frame]:
        """Frames that fit every given criterion; `src` and `dst` may be networks.

        Raises:
            AssertionError: frames were lost, so that absence would prove nothing.
        """
        self.settle()
        with self._lock:
            self._count_drops()
            assert self._partial is None, f"the capture is partial: {self._partial}"
            frames = list(self._frames)
        wanted = {
            "place": place,
            "link": link,
            "protocol": protocol,
            "dport": dport,
            "outgoing": outgoing,
        }
        exact = {key: value for key, value in wanted.items() if value is not None}
        return [
            frame
            for frame in frames
            if frame.time >= since
            and all(getattr(frame, key) == value for key, value in exact.items())
            and (containing is None or containing in frame.data)
            and (src is None or _within(frame.src, src))
            and (dst is None or _within(frame.dst, dst))
        ]

    def assert_silent(self, place: str | None = None, **criteria: object) -> None:
        """No frame fits.

        Raises:
            AssertionError: the first of those that do, or the capture is partial.
        """
        found = self.frames(place, **criteria)  # type: ignore[arg-type]  # the same keywords
        listing = "\n  ".join(str(frame) for frame in found[:10])
        assert not found, f"{len(found)} frames where none may be:\n  {listing}"

    def mark(self) -> float:
        """Now, for `since`: everything sent before is recorded and older."""
        self.settle()
        return time.monotonic()

    def clear(self) -> None:
        """Forget what was recorded, and that it was partial."""
        self.settle()
        with self._lock:
            self._frames.clear()
            self._bytes = 0
            self._count_drops()
            self._partial = None

    def settle(self) -> None:
        """Wait until all that was sent before this call is recorded."""
        time.sleep(SETTLE_S)
        with self._turn:
            self._asked += 1
            number = self._asked
            self._wake()
            if not self._turn.wait_for(lambda: self._finished >= number, timeout=10):
                raise AssertionError("the capture thread does not keep up")

    # -- the thread ------------------------------------------------------------------------

    def _wake(self) -> None:
        self._wake_out.send(b"w")

    def _read(self) -> None:
        while not self._ending:
            self._selector.select(timeout=1.0)
            with contextlib.suppress(BlockingIOError):
                self._wake_in.recv(4096)
            with self._turn:
                number = self._asked
            with self._lock:
                for place, sock in self._sockets.items():
                    for frame in _drain(place, sock):
                        self._keep(frame)
            with self._turn:
                self._finished = number
                self._turn.notify_all()

    def _keep(self, frame: Frame) -> None:
        if len(self._frames) >= MAX_FRAMES or self._bytes >= MAX_BYTES:
            self._partial = f"more than {MAX_FRAMES} frames or {MAX_BYTES} bytes"
            return
        self._frames.append(frame)
        self._bytes += len(frame.data)

    def _count_drops(self) -> None:
        for place, sock in self._sockets.items():
            raw = sock.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)
            _, drops = struct.unpack("II", raw)
            if drops:
                self._partial = f"{drops} frames lost in {place}"


def _drain(place: str, sock: socket.socket) -> Iterator[Frame]:
    for _ in range(MAX_DRAIN):
        try:
            data, (link, _, kind, *_) = sock.recvfrom(SNAP)
        except BlockingIOError:
            return
        except OSError:  # ENETDOWN: a link went away while its frames were queued
            continue
        outgoing = kind == socket.PACKET_OUTGOING
        yield parse_frame(time.monotonic(), place, link, outgoing, data)


def _within(address: str | None, network: str) -> bool:
    if address is None:
        return False
    return ipaddress.ip_address(address) in ipaddress.ip_network(network)
