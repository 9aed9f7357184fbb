"""Options of iptables' extensions: found in the entries of every libxtables, by real layouts."""

import ctypes
from typing import Any

import pytest

from netmgr.kernel.tables import find_option


class Known(ctypes.Structure):
    """struct xt_option_entry up to iptables 1.8.10, as python-iptables knows it."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("numbers", ctypes.c_uint * 6),
        ("size", ctypes.c_size_t),
        ("min", ctypes.c_uint),
        ("max", ctypes.c_uint),
    )


class Longer(ctypes.Structure):
    """The same since iptables 1.8.11."""

    _fields_ = (*Known._fields_, ("base", ctypes.c_uint))


NAMES = (b"limit", b"limit-burst", b"limit-more")


def entries_of(kind: type[Any], names: tuple[bytes, ...]) -> Any:
    """An array with its end, as the library has it, seen as python-iptables sees it."""
    array = (kind * (len(names) + 1))()
    for number, name in enumerate(names):
        array[number].name = name
        array[number].max = number + 7
        if kind is Longer:
            array[number].base = 16
    return ctypes.cast(array, ctypes.POINTER(Known)), array


@pytest.mark.parametrize("kind", [Known, Longer])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_each_option_is_found(kind: type[Any], count: int) -> None:
    entries, array = entries_of(kind, NAMES[:count])
    for number, name in enumerate(NAMES[:count]):
        found = find_option(entries, name)
        assert (found.name, found.max) == (name, number + 7)
        assert ctypes.addressof(found) == ctypes.addressof(array[number])
    assert find_option(entries, b"none") is None
    assert find_option(entries, b"limit-b") is None
