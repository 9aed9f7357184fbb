"""What comes out of the kernel with a sandbox's bytes in it: no input escapes the parsers."""

import socket
import struct
from ipaddress import IPv4Address

from hypothesis import given
from hypothesis import strategies as st

from netmgr.kernel.exec_events import parse_exec
from netmgr.kernel.netlink import iter_attrs, iter_messages, pack_attr, pack_message, parse_attrs
from netmgr.kernel.nflog import DeniedPacket, encode_event, parse_events

groups = st.integers(0, 65535)


@given(st.binary(max_size=400))
def test_any_bytes_give_a_list(data: bytes) -> None:
    for packet in parse_events(data):
        assert isinstance(packet, DeniedPacket)


@given(groups, st.integers(0, 2**32 - 1), st.binary(max_size=128))
def test_any_packet_gives_one_event(group: int, ifindex: int, packet: bytes) -> None:
    (event,) = parse_events(encode_event(group, ifindex, packet))
    assert (event.group, event.ifindex, event.ethertype) == (group, ifindex, 0x0800)
    if event.dport is not None:
        assert event.protocol in (6, 17, 33, 132, 136)


@given(st.binary(min_size=20, max_size=96), st.integers(0, 96))
def test_a_head_cut_anywhere_is_no_fault(packet: bytes, cut: int) -> None:
    whole = b"\x45" + packet[1:]
    (event,) = parse_events(encode_event(5, 1, whole[:cut]))
    assert (event.source is None) == (cut < 20)


@given(
    st.ip_addresses(v=4),
    st.ip_addresses(v=4),
    st.sampled_from([socket.IPPROTO_TCP, socket.IPPROTO_UDP]),
    st.integers(0, 65535),
    st.integers(0, 65535),
    st.integers(0, 10),
)
def test_a_good_head_is_read(
    source: IPv4Address,
    destination: IPv4Address,
    protocol: int,
    sport: int,
    dport: int,
    option_words: int,
) -> None:
    head = struct.pack(
        "!BBHHHBBH4s4s",
        0x40 | (5 + option_words),
        0,
        0,
        0,
        0,
        64,
        protocol,
        0,
        source.packed,
        destination.packed,
    )
    packet = head + bytes(4 * option_words) + struct.pack("!HH", sport, dport)
    (event,) = parse_events(encode_event(6, 9, packet))
    assert event == DeniedPacket(6, source, destination, protocol, sport, dport, 9, 0x0800)


@given(st.integers(1, 0x1FFF))
def test_a_later_fragment_has_no_ports(offset: int) -> None:
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 0, 0, offset, 64, 17, 0, bytes(4), bytes(4))
    (event,) = parse_events(encode_event(5, 1, head + b"\x00\x35\x00\x35"))
    assert (event.sport, event.dport) == (None, None)


@given(st.lists(st.tuples(st.integers(0, 0x3FFF), st.binary(max_size=40)), max_size=8))
def test_attributes_there_and_back(attrs: list[tuple[int, bytes]]) -> None:
    data = b"".join(pack_attr(kind, value) for kind, value in attrs)
    assert [(kind, bytes(value)) for kind, value in iter_attrs(data)] == attrs


@given(st.binary(max_size=200))
def test_attributes_of_any_bytes_stay_within_them(data: bytes) -> None:
    assert sum(len(value) + 4 for _, value in iter_attrs(data)) <= len(data)
    assert parse_attrs(data) == dict(iter_attrs(data))


@given(st.lists(st.tuples(st.integers(0, 65535), st.binary(max_size=40)), max_size=6))
def test_messages_there_and_back(messages: list[tuple[int, bytes]]) -> None:
    data = b""
    for kind, payload in messages:
        data += bytes(pack_message(kind, 0, payload)) + bytes(-len(payload) % 4)
    assert [(kind, bytes(payload)) for kind, _, _, payload in iter_messages(data)] == messages


@given(st.binary(max_size=200))
def test_messages_of_any_bytes_stay_within_them(data: bytes) -> None:
    assert sum(len(payload) + 16 for _, _, _, payload in iter_messages(data)) <= len(data)


@given(st.binary(max_size=120))
def test_any_bytes_are_a_process_or_nothing(data: bytes) -> None:
    pid = parse_exec(data)
    assert pid is None or pid > 0


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**22), st.integers(0, 2**22))
def test_an_exec_names_its_process_and_no_other_event_does(
    what: int, thread: int, pid: int
) -> None:
    event = struct.pack("=IIQii", what, 0, 0, thread, pid) + bytes(16)
    connector = struct.pack("=IIIIHH", 1, 1, 0, 0, len(event), 0)
    message = struct.pack("=IHHII", 36 + len(event), 3, 0, 0, 0) + connector + event
    assert parse_exec(message) == (pid if what == 2 and pid else None)
    assert parse_exec(message[:59]) is None
