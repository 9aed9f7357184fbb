"""Owns: netlink as bytes: message heads, attributes, batches with acknowledgements, dumps.

For what is sent often or parsed from strangers: ipset, sock_diag, nflog, and links at creation.
Knows nothing of any subsystem's meaning. Source: netlink(7), include/uapi/linux/netlink.h.
"""

import os
import socket
import struct
from collections.abc import Iterator, Sequence
from typing import Final

NLM_F_REQUEST: Final = 0x1
NLM_F_ACK: Final = 0x4
NLM_F_DUMP_INTR: Final = 0x10
NLM_F_DUMP: Final = 0x300
NLM_F_REPLACE: Final = 0x100
NLM_F_EXCL: Final = 0x200
NLM_F_CREATE: Final = 0x400

NLMSG_ERROR: Final = 2
NLMSG_DONE: Final = 3
NLMSG_OVERRUN: Final = 4

NLA_F_NESTED: Final = 0x8000
NLA_F_NET_BYTEORDER: Final = 0x4000
_NLA_TYPE: Final = 0x3FFF

WINDOW: Final = 100  # messages in one send: their answers fit a default receive buffer (measured)
DEADLINE_S: Final = 5  # the kernel answers in microseconds; beyond this something holds its lock
RECEIVE_SIZE: Final = 1 << 18  # one datagram of a dump is at most 32 KiB; several fit
ANSWER_SIZE: Final = 1 << 15  # of one object, or an error; to make room for more costs 20 us
ROOM: Final = 1 << 12  # of the answer to a question about one thing, which is a tenth of it
MAX_ERRNO: Final = 4095  # include/linux/err.h
DUMP_ATTEMPTS: Final = 20  # a table that changes under each of 20 dumps is a fault, not bad luck

HEAD: Final = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_ATTR: Final = struct.Struct("=HH")
_ERROR: Final = struct.Struct("=i")


class DumpInterrupted(OSError):
    """The table changed during every attempt to dump it."""


def align(length: int) -> int:
    """Up to the next multiple of four."""
    return (length + 3) & ~3


def pack_attr(kind: int, payload: bytes) -> bytes:
    """One attribute, padded."""
    length = _ATTR.size + len(payload)
    return _ATTR.pack(length, kind) + payload + b"\0" * (align(length) - length)


def pack_nested(kind: int, *attrs: bytes) -> bytes:
    """One attribute that holds attributes."""
    return pack_attr(kind | NLA_F_NESTED, b"".join(attrs))


def pack_message(kind: int, flags: int, payload: bytes) -> bytearray:
    """One message; its sequence number is filled in when it is sent."""
    message = bytearray(HEAD.size)
    HEAD.pack_into(message, 0, HEAD.size + len(payload), kind, flags | NLM_F_REQUEST, 0, 0)
    return message + payload


def iter_attrs(data: bytes | memoryview) -> Iterator[tuple[int, memoryview]]:
    """(type without flags, payload) of each attribute; ends at the first that does not fit."""
    view = memoryview(data)
    start = 0
    while start + _ATTR.size <= len(view):
        length, kind = _ATTR.unpack_from(view, start)
        if length < _ATTR.size or start + length > len(view):
            return
        yield kind & _NLA_TYPE, view[start + _ATTR.size : start + length]
        start += align(length)


def parse_attrs(data: bytes | memoryview) -> dict[int, memoryview]:
    """The attributes by type; the last of a type wins. `iter_attrs` without its generator: a birth
    reads some hundred attributes."""
    view = memoryview(data)
    found: dict[int, memoryview] = {}
    start, end = 0, len(view)
    while start + _ATTR.size <= end:
        length, kind = _ATTR.unpack_from(view, start)
        if length < _ATTR.size or start + length > end:
            break
        found[kind & _NLA_TYPE] = view[start + _ATTR.size : start + length]
        start += (length + 3) & ~3
    return found


def iter_messages(data: bytes | memoryview) -> Iterator[tuple[int, int, int, memoryview]]:
    """(type, flags, sequence, payload) of each message; ends at the first that does not fit."""
    view = memoryview(data)
    start = 0
    while start + HEAD.size <= len(view):
        length, kind, flags, sequence, _ = HEAD.unpack_from(view, start)
        if length < HEAD.size or start + length > len(view):
            return
        yield kind, flags, sequence, view[start + HEAD.size : start + length]
        start += align(length)


class NetlinkSocket:
    """A netlink socket of the namespace that the calling thread is in when it is made.

    Args:
        protocol: NETLINK_ROUTE (0), NETLINK_SOCK_DIAG (4), NETLINK_NETFILTER (12).
    """

    def __init__(self, protocol: int) -> None:
        self._sock = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol
        )
        # SO_RCVTIMEO rather than Python's own timeout: no poll before each read
        self._sock.setsockopt(
            socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", DEADLINE_S, 0)
        )
        self._sock.bind((0, 0))
        self._sequence = 0
        self._room = memoryview(bytearray(ROOM))

    def fileno(self) -> int:
        """The descriptor."""
        return self._sock.fileno()

    def close(self) -> None:
        """Close it. May be called twice."""
        self._sock.close()

    def detach(self) -> int:
        """Give the descriptor away; this object is closed then."""
        return self._sock.detach()

    def setsockopt(self, level: int, option: int, value: int) -> None:
        """As socket.setsockopt."""
        self._sock.setsockopt(level, option, value)

    def send_batch(self, messages: Sequence[bytearray]) -> list[int]:
        """Send messages in windows and give each one's error number, 0 for done.

        One that fails does not stop those after it. The kernel does them in order and tells each
        failure, asked or not (netlink(7)), so only a window's last is to be acknowledged: each
        answer would cost a call more.

        Raises:
            TimeoutError: no answer within DEADLINE_S.
            OSError: the socket failed.
        """
        errors: list[int] = []
        for start in range(0, len(messages), WINDOW):
            errors += self._send_window(messages[start : start + WINDOW])
        return errors

    def run(self, messages: Sequence[bytearray]) -> None:
        """Send messages; the first error among them is raised.

        Raises:
            OSError: of the first message that failed.
        """
        for number in self.send_batch(messages):
            if number:
                raise OSError(number, os.strerror(number))

    def _send_window(self, messages: Sequence[bytearray]) -> list[int]:
        first = self._sequence + 1
        for message in messages[:-1]:
            self._number(message, 0)
        last = self._number(messages[-1], NLM_F_ACK)
        self._sock.send(b"".join(messages))
        errors = [0] * len(messages)
        while True:
            for kind, _, sequence, payload in iter_messages(self._receive(ANSWER_SIZE)):
                place = sequence - first
                if kind != NLMSG_ERROR or not 0 <= place < len(errors):
                    continue  # a late answer to an earlier, failed exchange
                errors[place] = -_ERROR.unpack_from(payload)[0]
                if sequence == last:
                    return errors

    def ask(self, message: bytearray) -> memoryview:
        """Send one message that is no dump and give the payload of its answer.

        Raises:
            OSError: the kernel answered with an error.
            TimeoutError: no answer within DEADLINE_S.
        """
        sequence = self._number(message, 0)
        self._sock.send(message)
        while True:
            for kind, _, number, payload in iter_messages(self._receive(ANSWER_SIZE)):
                if number != sequence:
                    continue  # a late answer to an earlier, failed exchange
                refusal = _error_in(payload) if kind == NLMSG_ERROR else None
                if refusal is not None:
                    raise refusal
                return payload

    def ask_bytes(self, kind: int, payload: bytes) -> memoryview:
        """As `ask`, of a message by its type and payload: for questions that are asked for every
        connection. The answer holds until the next question.

        Raises:
            OSError: the kernel answered with an error.
            TimeoutError: no answer within DEADLINE_S.
        """
        self._sequence = sequence = self._sequence + 1
        head = HEAD.pack(HEAD.size + len(payload), kind, NLM_F_REQUEST, sequence, 0)
        self._sock.send(head + payload)
        while True:
            try:
                size = self._sock.recv_into(self._room)
            except BlockingIOError as silence:
                raise TimeoutError(f"the kernel did not answer within {DEADLINE_S} s") from silence
            length, told, _, number, _ = HEAD.unpack_from(self._room)
            if number != sequence or not HEAD.size <= length <= size:
                continue  # a late answer to an earlier, failed exchange
            answer = self._room[HEAD.size : length]
            refusal = _error_in(answer) if told == NLMSG_ERROR else None
            if refusal is not None:
                raise refusal
            return answer

    def ask_each(self, messages: Sequence[bytearray]) -> list[memoryview | OSError]:
        """Send a few questions (none of them a dump) at once and give each one's answer, or what
        the kernel refused it with.

        Raises:
            TimeoutError: no answer within DEADLINE_S.
        """
        first = self._sequence + 1
        for message in messages:
            self._number(message, 0)
        self._sock.send(b"".join(messages))
        answers: dict[int, memoryview | OSError] = {}
        while len(answers) < len(messages):
            for kind, _, sequence, payload in iter_messages(self._receive(ANSWER_SIZE)):
                if not 0 <= sequence - first < len(messages):
                    continue  # a late answer to an earlier, failed exchange
                refusal = _error_in(payload) if kind == NLMSG_ERROR else None
                answers[sequence - first] = refusal or payload
        return [answers[place] for place in range(len(messages))]

    def dump(self, message: bytearray) -> list[memoryview]:
        """Payloads of a whole dump, taken again while the table changes under it.

        Raises:
            DumpInterrupted: it changed every time (NLM_F_DUMP_INTR).
            OSError: the kernel answered with an error.
        """
        for _ in range(DUMP_ATTEMPTS):
            found = self._dump_once(message)
            if found is not None:
                return found
        raise DumpInterrupted(f"interrupted {DUMP_ATTEMPTS} times: the table keeps changing")

    def _dump_once(self, message: bytearray) -> list[memoryview] | None:
        sequence = self._number(message, NLM_F_DUMP)
        self._sock.send(message)
        found: list[memoryview] = []
        whole = True
        while True:
            for kind, flags, number, payload in iter_messages(self._receive(RECEIVE_SIZE)):
                if number != sequence:
                    continue
                whole = whole and not flags & NLM_F_DUMP_INTR
                if kind in (NLMSG_ERROR, NLMSG_DONE):
                    _raise_error(payload)
                    return found if whole else None
                found.append(payload)

    def _number(self, message: bytearray, flags: int) -> int:
        self._sequence += 1
        length, kind, old, _, _ = HEAD.unpack_from(message)
        HEAD.pack_into(message, 0, length, kind, old | flags, self._sequence, 0)
        return self._sequence

    def _receive(self, size: int) -> bytes:
        try:
            return self._sock.recv(size)
        except BlockingIOError as silence:
            raise TimeoutError(f"the kernel did not answer within {DEADLINE_S} s") from silence


def _raise_error(payload: memoryview) -> None:
    refusal = _error_in(payload)
    if refusal is not None:
        raise refusal


def _error_in(payload: memoryview) -> OSError | None:
    """What an NLMSG_ERROR or NLMSG_DONE carries; both begin with a negative errno or 0."""
    if len(payload) >= _ERROR.size:
        number = -_ERROR.unpack_from(payload)[0]
        if number > 0:
            return OSError(number, os.strerror(min(number, MAX_ERRNO)))
    return None
