"""Owns: the valid examples of the corpus that are not text, made with the product's own writers.

`python tests/fuzz/seeds.py` writes them anew. Text seeds, and what fuzzing found, are plain files.
"""

import gzip
import json
import socket
import ssl
import struct
import sys
import zlib
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / part) for part in ("", "dns", "proxy", "cli", "tests")]

import dnslib  # noqa: E402

from fuzz.catalogue import CORPUS  # noqa: E402
from netmgr.kernel import ipset_codec as sets  # noqa: E402
from netmgr.kernel.ipset_codec import Attr, Data, Entry, SetSpec, SetType  # noqa: E402
from netmgr.kernel.netlink import pack_attr, pack_message, pack_nested  # noqa: E402
from netmgr.kernel.nflog import encode_event  # noqa: E402
from netmgr.process.ipc import encode_frame  # noqa: E402
from netmgr_dns.messages import QType  # noqa: E402
from netmgr_dns.wire import MAX_RECORDS, MAX_RESPONSE, render_query  # noqa: E402

HEADER: Final = struct.Struct("!HHHHHH")
ANSWER: Final = b'{"id":"x","usage":{"prompt_tokens":5,"completion_tokens":7},"choices":[]}'


def dns_queries() -> dict[str, bytes]:
    """As resolver libraries ask."""
    plain = render_query(7, (b"Api", b"Example", b"test"), QType.A)
    record = _question("a.example.test", "AAAA")
    record.add_ar(dnslib.EDNS0(udp_len=1400, opts=[dnslib.EDNSOption(10, b"cookie!!")]))
    root = HEADER.pack(1, 0x0100, 1, 0, 0, 0) + b"\0\0\2\0\1"
    pointers = b"".join(struct.pack("!H", 0xC000 | at) for at in range(12, 1200, 2))
    return {
        "a": plain,
        "aaaa-edns-cookie": bytes(record.pack()),
        "root-ns": root,
        "pointer-chain": HEADER.pack(1, 0x0100, 1, 0, 0, 1) + pointers,
    }


def _question(name: str, qtype: str = "A") -> dnslib.DNSRecord:
    record = dnslib.DNSRecord.question(name, qtype)
    record.header.id = 7
    return record


def dns_responses() -> dict[str, bytes]:
    """As recursive servers answer; and the dearest answers that fit."""
    record = _question("www.example.test").reply()
    zone = "www.example.test. 60 CNAME a.example.test.\na.example.test. 5 A 192.0.2.1"
    record.add_answer(*dnslib.RR.fromZone(zone))
    negative = _question("no.example.test", "AAAA").reply()
    negative.header.rcode = 3
    negative.add_auth(*dnslib.RR.fromZone("example.test. 60 SOA ns.example.test. h.example.test."))
    loop = _question("a.example.test").reply()
    loop.add_answer(*dnslib.RR.fromZone("a.example.test. 9 CNAME b.example.test."))
    loop.add_answer(*dnslib.RR.fromZone("b.example.test. 9 CNAME a.example.test."))
    found = {"alias": record, "nxdomain": negative, "alias-loop": loop}
    return {name: bytes(each.pack()) for name, each in found.items()} | {
        "truncated": HEADER.pack(7, 0x8380, 1, 1, 0, 0) + b"\1a\4test\0\0\1\0\1\0\0",
        "many-chained-names": _chained_names(),
    }


def _chained_names() -> bytes:
    """A long name, and as many records as are read, whose names all point to it."""
    labels = 60
    question = b"\1a" * labels + b"\0\0\1\0\1"
    start = 12 + 2 * labels
    record = struct.pack("!HHHIH", 0xC00C, 5, 1, 60, 2) + struct.pack("!H", 0xC00C)
    count = min(MAX_RECORDS, (MAX_RESPONSE - start - 5) // len(record))
    return HEADER.pack(7, 0x8180, 1, count, 0, 0) + question + record * count


def hello() -> bytes:
    """As OpenSSL says it, with other random bytes each time."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    tls = context.wrap_bio(incoming, outgoing, server_hostname="api.example.test")
    with suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


def in_records(data: bytes, size: int) -> bytes:
    """The hello of one record, in records of `size` bytes."""
    message = data[5:]
    pieces = [message[at : at + size] for at in range(0, len(message), size)]
    return b"".join(b"\x16\x03\x01" + struct.pack("!H", len(p)) + p for p in pieces)


def ipset_listings() -> dict[str, bytes]:
    """A listing's payload for each set type in use."""
    host, net = IPv4Network("192.0.2.7/32"), IPv4Network("198.51.100.0/24")
    entries = {
        SetType.IP: Entry(host),
        SetType.NET: Entry(net),
        SetType.NET_IFACE: Entry(net, iface="nm0"),
        SetType.IP_PORT_IP: Entry(host, port=443, net2=host),
        SetType.IP_PORT_NET: Entry(host, port=443, net2=net),
    }
    found = {}
    for kind, entry in entries.items():
        spec = SetSpec("nm-set", kind, 1024, counters=True, timeout=60)
        counters = pack_attr(Data.PACKETS, bytes(7) + b"\2") + pack_attr(Data.BYTES, bytes(8))
        found[kind.name.lower()] = (
            sets.pack_text(Attr.SETNAME, spec.name)
            + sets.pack_text(Attr.TYPENAME, kind.kernel_name)
            + pack_nested(Attr.DATA, sets.pack_spec(spec))
            + pack_nested(Attr.ADT, pack_nested(Attr.DATA, sets.pack_entry(entry) + counters))
        )
    return found


def packet(protocol: int, options: bytes = b"") -> bytes:
    """An IPv4 head, with ports behind it."""
    words = 0x45 + len(options) // 4
    addresses = IPv4Address("10.7.0.2").packed + IPv4Address("192.0.2.1").packed
    head = struct.pack("!BBHHHBBH", words, 0, 40, 1, 0, 64, protocol, 0) + addresses
    return head + options + struct.pack("!HH", 40000, 443) + bytes(16)


def sock_diag() -> dict[str, bytes]:
    """inet_diag_msg of an established connection (include/uapi/linux/inet_diag.h)."""
    head = struct.pack("=BBBB", socket.AF_INET, 1, 0, 0)
    ends = struct.pack("!HH", 40000, 443) + packet(6)[12:16] + bytes(12) + packet(6)[16:20]
    tail = bytes(12) + struct.pack("=III", 0, 1, 2) + struct.pack("=IIIII", 0, 0, 0, 1000, 77)
    return {"established": head + ends + tail}


def frames() -> dict[str, bytes]:
    """What processes tell, ask and answer."""
    messages = (
        {"tell": "record", "body": {"sandbox": "a"}},
        {"ask": "name", "id": 1, "body": {"name": "a.test"}},
        {"answer": 1, "body": {"ip": "198.18.0.1"}},
        {"answer": 1, "error": {"code": "limit_exceeded", "message": "full", "details": {}}},
    )
    return {
        "conversation": b"".join(encode_frame(each, 0) for each in messages),
        "with-descriptor": encode_frame(messages[0], 1),
    }


def nested_usage() -> bytes:
    """What makes the meter look again and again at the same bytes, were nothing to stop it."""
    return b'{"usage":' * 100 + b"1" + b"}" * 30


def all_seeds() -> dict[str, dict[str, bytes]]:
    """Seeds by target and name."""
    queries = dns_queries()
    said = hello()
    channel = frames()
    heads = {"tcp": packet(6), "udp-options": packet(17, bytes(8)), "icmp": packet(1)}
    events = {name: encode_event(5, 7, each) for name, each in heads.items()}
    listings = ipset_listings()
    asked = [queries[name] for name in ("a", "root-ns")]
    return {
        "dns_query": queries,
        "dns_stream": {"two": b"".join(struct.pack("!H", len(q)) + q for q in asked)},
        "dns_response": dns_responses(),
        "first_bytes": {"openssl-hello": said, "hello-in-records": in_records(said, 50)},
        "ipset": listings,
        "netlink": {
            "done": bytes(pack_message(3, 2, struct.pack("=i", 0))),
            "refused": bytes(pack_message(2, 0, struct.pack("=i", -17) + bytes(16))),
            "set": bytes(sets.pack_command(sets.Command.LIST, listings["net"])),
        },
        "nflog": events | {f"packet-{name}": each for name, each in heads.items()},
        "sock_diag": sock_diag(),
        "ipc_frames": {
            "conversation": b"\0" + channel["conversation"],
            "with-descriptor": b"\1" + channel["with-descriptor"],
        },
        "ipc_peer": channel,
        "usage": {
            "plain": b"\0" + ANSWER,
            "gzip": b"\1" + gzip.compress(ANSWER, mtime=0),
            "deflate": b"\2" + zlib.compress(ANSWER),
            "nested": b"\0" + nested_usage(),
            "zeros": b"\1" + gzip.compress(bytes(20_000), mtime=0),
            "stream": b"\0data: " + ANSWER + b"\n\ndata: [DONE]\n\n",
        },
        "record": {"denied": json.dumps(_record()).encode()},
    }


def _record() -> dict[str, object]:
    return {
        "time": 1.5,
        "sandbox": "a",
        "kind": "connection",
        "verdict": "denied",
        "reason": "no_matching_rule",
        "message": "no rule",
        "count": 1,
        "destination": {"name": "a.test", "ip": "192.0.2.1", "port": 443},
        "process": {"exe": "/bin/a", "pid": 7, "ancestors": [{"exe": "/bin/b", "pid": 1}]},
        "http": {"method": "GET", "path": "/"},
        "duration_ms": 0.5,
    }


def main() -> None:
    """Write them."""
    for target, seeds in all_seeds().items():
        folder = CORPUS / target
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in seeds.items():
            (folder / name).write_bytes(data)


if __name__ == "__main__":
    main()
