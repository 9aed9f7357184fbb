"""Netlink's frames and attributes: nothing escapes, nothing points outside, errors are OSErrors."""

from contextlib import suppress

from netmgr.kernel.netlink import HEAD, _raise_error, iter_attrs, iter_messages, parse_attrs


def fuzz(data: bytes) -> None:
    """One datagram: its messages, each as attributes and as an error."""
    messages = list(iter_messages(data))
    assert sum(len(payload) + HEAD.size for *_, payload in messages) <= len(data)
    for *_, payload in messages:
        attrs = list(iter_attrs(payload))
        assert sum(len(value) + 4 for _, value in attrs) <= len(payload)
        assert parse_attrs(payload).keys() == {kind for kind, _ in attrs}
        with suppress(OSError):
            _raise_error(payload)
