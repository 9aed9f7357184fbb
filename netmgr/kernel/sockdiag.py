"""Owns: sock_diag over raw netlink: who owns a flow, which sockets have a peer, destroying those.

A socket of this kind sees the network namespace that it was opened in, and no other. Knows nothing
of sandboxes. Source: sock_diag(7), include/uapi/linux/{sock_diag,inet_diag}.h.
"""

import errno
import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Final, Self

from netmgr.errors import HostFailed
from netmgr.kernel import netns
from netmgr.kernel.facts import Flow
from netmgr.kernel.fence import kernel_errors
from netmgr.kernel.netlink import NetlinkSocket, pack_attr, pack_message

_NETLINK_SOCK_DIAG: Final = 4
_BY_FAMILY: Final = 20  # SOCK_DIAG_BY_FAMILY
_DESTROY: Final = 21  # SOCK_DESTROY
_BYTECODE: Final = 1  # INET_DIAG_REQ_BYTECODE

_REQUEST: Final = struct.Struct("=BBBxI")  # family, protocol, extensions, states
_IDENTITY: Final = struct.Struct("!HH16s16s")  # ports and addresses, big-endian
_TAIL: Final = struct.Struct("=III")  # interface, cookie
_ANY_TAIL: Final = _TAIL.pack(0, 0xFFFF_FFFF, 0xFFFF_FFFF)  # INET_DIAG_NOCOOKIE
_ANSWER: Final = struct.Struct("=BBBB")  # family, state, timer, retransmits
_OWNER: Final = struct.Struct("=IIIII")  # expires, rqueue, wqueue, uid, inode
_IDENTITY_SIZE: Final = _IDENTITY.size + _TAIL.size
_ANSWER_SIZE: Final = _ANSWER.size + _IDENTITY_SIZE + _OWNER.size

_OPERATION: Final = struct.Struct("=BBH")  # code, yes, no
_CONDITION: Final = struct.Struct("=BBxxi")  # family, prefix length, port (-1 for any)
_D_COND: Final = 8  # INET_DIAG_BC_D_COND: the peer
_ANY_PORT: Final = -1

_STATE_NAMES: Final = (
    "unknown established syn-sent syn-recv fin-wait-1 fin-wait-2 time-wait close close-wait "
    "last-ack listen closing new-syn-recv bound-inactive"
)
STATES: Final = tuple(_STATE_NAMES.split())
"""Names by number, include/net/tcp_states.h."""

_LISTEN: Final = 10
_ALL: Final = 0xFFFF_FFFF
_NOT_LISTENING: Final = _ALL & ~(1 << _LISTEN)

DESTROY_ROUNDS: Final = 5  # a flow may open while the first dump is worked off; then none can
_PROTOCOLS: Final = {"tcp": socket.IPPROTO_TCP, "udp": socket.IPPROTO_UDP}
_QUESTIONS: Final = {
    name: _REQUEST.pack(socket.AF_INET, number, 0, _ALL) for name, number in _PROTOCOLS.items()
}


@dataclass(frozen=True, slots=True)
class DiagSocket:
    """One socket as the kernel shows it."""

    state: str
    local: IPv4Address
    local_port: int
    remote: IPv4Address
    remote_port: int
    uid: int
    inode: int
    identity: bytes  # what SOCK_DESTROY wants back


class SockDiag:
    """A connection to the sock_diag of the namespace that it is opened in."""

    def __init__(self) -> None:
        with kernel_errors("open netlink to sock_diag"):
            self._netlink = NetlinkSocket(_NETLINK_SOCK_DIAG)

    @classmethod
    def open_in(cls, netns_fd: int) -> Self:
        """A connection to the sock_diag of the namespace behind a descriptor."""
        with netns.entered(netns_fd):
            return cls()

    def close(self) -> None:
        """Close the connection."""
        self._netlink.close()

    def find(self, flow: Flow) -> tuple[int, int] | None:
        """(uid, inode) of the socket that is the near end of a flow, or None.

        An exact look-up: a few microseconds, however many sockets there are. The kernel may give
        an unconnected socket that would take the flow's packets (UDP); a listener is no owner.

        Raises:
            HostFailed: the kernel refused for another reason than absence.
        """
        ends = _IDENTITY.pack(flow.sport, flow.dport, flow.address.packed, flow.ip.packed)
        try:
            reply = self._netlink.ask_bytes(
                _BY_FAMILY, _QUESTIONS[flow.protocol] + ends + _ANY_TAIL
            )
        except FileNotFoundError:
            return None
        except OSError as refusal:
            raise HostFailed(f"look up a socket: {refusal.strerror}") from refusal
        _check_size(reply)
        _, _, _, uid, inode = _OWNER.unpack_from(reply, _ANSWER.size + _IDENTITY_SIZE)
        return None if reply[1] == _LISTEN else (uid, inode)

    def tcp(self, remote: IPv4Address | None = None) -> list[DiagSocket]:
        """TCP sockets in every state but listening.

        Args:
            remote: only those with this peer; the kernel does the filtering.
        """
        code = _bytecode(remote) if remote is not None else b""
        return list(self._dump(socket.IPPROTO_TCP, _NOT_LISTENING, code))

    def count_udp(self) -> int:
        """How many UDP sockets there are."""
        return sum(1 for _ in self._dump(socket.IPPROTO_UDP, _ALL, b""))

    def destroy(
        self,
        remote: IPv4Address | None,
        is_meant: Callable[[DiagSocket], bool] = lambda _: True,
    ) -> int:
        """Destroy TCP sockets by peer, in every state (TIME_WAIT, half-open), and read back.

        Their owners wake with ECONNABORTED, the peer gets a reset. Returns how many are left.

        Args:
            remote: only those with this peer; None is any.
            is_meant: only those of them for which it is true.

        Raises:
            HostFailed: no CAP_NET_ADMIN, or a kernel without CONFIG_INET_DIAG_DESTROY.
        """
        for _ in range(DESTROY_ROUNDS):
            found = [each for each in self.tcp(remote) if is_meant(each)]
            if not found:
                return 0
            self._destroy_each(found)
        return sum(map(is_meant, self.tcp(remote)))

    def _destroy_each(self, sockets: list[DiagSocket]) -> None:
        head = _REQUEST.pack(socket.AF_INET, socket.IPPROTO_TCP, 0, _ALL)
        messages = [pack_message(_DESTROY, 0, head + each.identity) for each in sockets]
        with kernel_errors("destroy sockets (kernel option CONFIG_INET_DIAG_DESTROY)"):
            for error in self._netlink.send_batch(messages):
                if error not in (0, errno.ENOENT):  # ENOENT: it ended by itself meanwhile
                    raise OSError(error, errno.errorcode.get(error, "refused"))

    def _dump(self, protocol: int, states: int, code: bytes) -> Iterator[DiagSocket]:
        request = _REQUEST.pack(socket.AF_INET, protocol, 0, states) + bytes(_IDENTITY_SIZE)
        if code:
            request += pack_attr(_BYTECODE, code)
        with kernel_errors("list sockets"):
            replies = self._netlink.dump(pack_message(_BY_FAMILY, 0, request))
        return map(_parse, replies)


def _bytecode(remote: IPv4Address) -> bytes:
    """One condition on the peer. A failed one jumps beyond the end, which means "no match"
    (net/ipv4/inet_diag.c: inet_diag_bc_run)."""
    size = _OPERATION.size + _CONDITION.size + len(remote.packed)
    whole = _CONDITION.pack(socket.AF_INET, remote.max_prefixlen, _ANY_PORT)
    return _OPERATION.pack(_D_COND, size, size + 4) + whole + remote.packed


def _check_size(reply: memoryview) -> None:
    if len(reply) < _ANSWER_SIZE:
        raise HostFailed(f"sock_diag: an answer of {len(reply)} bytes; expected {_ANSWER_SIZE}")


def _parse(reply: memoryview) -> DiagSocket:
    _check_size(reply)
    _, state, _, _ = _ANSWER.unpack_from(reply)
    start = _ANSWER.size
    sport, dport, source, destination = _IDENTITY.unpack_from(reply, start)
    _, _, _, uid, inode = _OWNER.unpack_from(reply, start + _IDENTITY_SIZE)
    return DiagSocket(
        state=STATES[state] if state < len(STATES) else str(state),
        local=IPv4Address(source[:4]),
        local_port=sport,
        remote=IPv4Address(destination[:4]),
        remote_port=dport,
        uid=uid,
        inode=inode,
        identity=bytes(reply[start : start + _IDENTITY_SIZE]),
    )
