"""Answers of a kernel that speaks otherwise than ours: told as such, never a crash."""

import struct
from ipaddress import IPv4Network

import pytest

from netmgr.errors import HostFailed
from netmgr.kernel.ipset_codec import (
    Attr,
    Data,
    Entry,
    SetSpec,
    SetType,
    pack_entry,
    pack_spec,
    pack_text,
    parse_listed,
    parse_spec,
)
from netmgr.kernel.netlink import _raise_error, pack_attr, pack_nested, parse_attrs
from netmgr.kernel.sockdiag import _parse

SPEC = SetSpec("nm-set", SetType.NET, 64)
LISTED = {
    Attr.SETNAME: pack_text(Attr.SETNAME, SPEC.name),
    Attr.TYPENAME: pack_text(Attr.TYPENAME, SPEC.type.kernel_name),
    Attr.DATA: pack_nested(Attr.DATA, pack_spec(SPEC)),
}


def test_a_set_is_read_back() -> None:
    assert parse_spec(parse_attrs(b"".join(LISTED.values()))) == SPEC


@pytest.mark.parametrize("lacking", list(LISTED))
def test_a_set_without_a_part_is_told(lacking: Attr) -> None:
    data = b"".join(value for kind, value in LISTED.items() if kind != lacking)
    with pytest.raises(HostFailed, match="ipset"):
        parse_spec(parse_attrs(data))


def test_a_set_of_an_unknown_type_is_told() -> None:
    data = LISTED[Attr.SETNAME] + LISTED[Attr.DATA] + pack_text(Attr.TYPENAME, "hash:mac")
    with pytest.raises(HostFailed, match="ipset"):
        parse_spec(parse_attrs(data))


GOOD = pack_entry(Entry(IPv4Network("192.0.2.0/24"), port=443))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        pack_attr(Data.IP, b""),
        pack_nested(Data.IP, pack_attr(1, bytes(16))),
        GOOD + pack_attr(Data.CIDR, b""),
        GOOD + pack_attr(Data.CIDR, b"\x21"),
        GOOD + pack_attr(Data.CIDR, b"\x07"),  # host bits
        GOOD + pack_attr(Data.PORT, b"\x01"),
    ],
)
def test_an_entry_of_another_form_is_told(data: bytes) -> None:
    with pytest.raises(HostFailed, match="ipset"):
        parse_listed(memoryview(data))


@pytest.mark.parametrize("size", [0, 4, 71])
def test_a_short_answer_about_a_socket_is_told(size: int) -> None:
    with pytest.raises(HostFailed, match=f"{size} bytes; expected 72"):
        _parse(memoryview(bytes(size)))


@pytest.mark.parametrize("number", [-17, -4095, -(2**31)])
def test_any_error_number_is_an_os_error(number: int) -> None:
    with pytest.raises(OSError, match="File exists" if number == -17 else "Unknown"):
        _raise_error(memoryview(struct.pack("=i", number)))
