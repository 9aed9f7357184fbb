"""Heads of refused packets, which sandboxes wrote: any bytes give events, nothing escapes."""

from netmgr.kernel.nflog import encode_event, parse_events


def fuzz(data: bytes) -> None:
    """As a datagram of the log, and as a packet in an event of ours."""
    for event in parse_events(data):
        assert (event.source is None) == (event.destination is None) == (event.protocol is None)
        assert event.sport is None or event.source is not None
    (event,) = parse_events(encode_event(5, 7, data))
    assert (event.group, event.ifindex) == (5, 7)
    assert (event.source is None) == (len(data) < 20 or data[0] >> 4 != 4)
