"""What an upstream DNS server sends to the dialer: a response or `MalformedMessage`."""

from netmgr_dns.messages import MalformedMessage, QType
from netmgr_dns.stub import MAX_ADDRESSES, MAX_ALIASES, follow_aliases
from netmgr_dns.wire import parse_response

MAX_STARTS = 4  # names that are asked for: each walks all records


def fuzz(data: bytes) -> None:
    """Whatever was read can be followed: in bounds, round no loop, to addresses of the family."""
    try:
        response = parse_response(data)
    except MalformedMessage:
        return
    assert response.negative_ttl is None or response.negative_ttl >= 0
    starts = {record.owner: None for record in response.records}
    for start in list(starts)[:MAX_STARTS]:
        for qtype, version in ((QType.A, 4), (QType.AAAA, 6)):
            chain = follow_aliases((start,), qtype, response)
            if chain is None:
                continue
            assert len(set(chain.seen)) == len(chain.seen) <= MAX_ALIASES + 1
            assert chain.ttl >= 0
            assert len(chain.addresses) <= MAX_ADDRESSES
            assert all(address.version == version for address in chain.addresses)
