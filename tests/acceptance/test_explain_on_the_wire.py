"""`policy explain` against the wire: the same questions, asked and tried; verdict and reason agree.

The questions are drawn by a seed from what policies distinguish: names in several spellings,
wildcards, the host's aliases, literal addresses, ports, methods, paths and queries that two readers
could read differently. What the wire says is read where a client would: DNS's extended error, the
face of an HTTP denial; for what the kernel refuses, the record.
"""

import random
import re
import socket
import ssl
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import pytest
from dnslib import EDNS0, DNSRecord
from world import Sandbox, World
from world.namespaces import inside

pytestmark = pytest.mark.root

SEED: Final = 20_260_704
SAMPLE: Final = 150
ANSWER_S: Final = 10.0
RESOLVER: Final = "169.254.77.1"
TLS_PORTS: Final = (443, 8443)
POLICY: Final = """
version: 1
network_policies:
  api:
    endpoints:
      - host: api.explain.test
        port: 443
        protocol: rest
        rules:
          - allow: {{method: GET, path: "/v1/**"}}
          - allow: {{method: POST, path: /v1/items, query: {{kind: "a*"}}}}
        deny_rules:
          - {{method: "*", path: "/v1/secret/**"}}
          - {{method: GET, path: "/**", query: {{admin: "true"}}}}
      - {{host: "*.w.explain.test", port: 443, protocol: rest, access: read-only}}
      - {{host: audit.explain.test, port: 443, protocol: rest, access: read-only,
         enforcement: audit}}
      - {{host: site.explain.test, ports: [443, 8443]}}
      - {{host: plain.explain.test, port: 80, protocol: rest, access: read-only}}
      - {{host: host.openshell.internal, port: 8088, protocol: rest, access: read-only}}
      - {{host: {literal}, port: 8080}}
    binaries: [{{path: "/**"}}]
"""
HOSTS: Final = (
    *["api.explain.test"] * 6, *["audit.explain.test"] * 2,
    "API.Explain.TEST", "api.explain.test.", "a.w.explain.test", "w.explain.test",
    "a.b.w.explain.test", "site.explain.test", "plain.explain.test", "elsewhere.explain.test",
    "host.openshell.internal", "host.docker.internal", "inference.local", "{literal}", "{another}",
)  # fmt: skip
PORTS: Final = (*[443] * 6, 8443, 80, 8088, 8080, 22)
METHODS: Final = ("GET", "GET", "HEAD", "POST", "DELETE", "OPTIONS")
PATHS: Final = (
    "/", "/v1/items", "/v1/%69tems", "/v1//items", "/v1/x/../items", "/v1/secret/a",
    "/v1/%73ecret/a", "/v1/./secret/a", "/v2", "/v1/items/", "/v1/a%2Fb", "/v1/a%00",
    "/v1/a%2", "/v1/a;b", "/../etc", "/V1/items",
)  # fmt: skip
QUERIES: Final = (
    "", "", "", "kind=apple", "kind=b", "admin=true", "%61dmin=tru%65", "admin=false",
    "kind=a&admin=false&admin=true", "kind=%zz",
)  # fmt: skip
ROUTED: Final = (("inference.local", 443), ("inference.local", 80))
# Ports that have servers, by host: whatever is allowed has one, and some of what is denied.
SERVED: Final = {
    "api.explain.test": (443,),
    "audit.explain.test": (443,),
    "a.w.explain.test": (443,),
    "site.explain.test": (443, 8443),
    "plain.explain.test": (80,),
}


class Question(NamedTuple):
    """One thing that a client may try."""

    host: str
    port: int
    method: str
    path: str
    query: str

    @property
    def url(self) -> str:
        """As a person would ask for it."""
        scheme = "https" if self.port in TLS_PORTS else "http"
        return f"{scheme}://{self.host}:{self.port}{self.target}"

    @property
    def target(self) -> str:
        """As it stands in the request line."""
        return f"{self.path}?{self.query}" if self.query else self.path


class Said(NamedTuple):
    """What became of it. Who is let through is told no reason."""

    permitted: bool
    reason: str | None


@pytest.fixture(scope="module")
def stage(world: World) -> Iterator[tuple[Sandbox, list[Question]]]:
    """A sandbox, its servers and the questions."""
    internet = world.internet
    for host, ports in SERVED.items():
        address = internet.address()
        for port in ports:
            serve = internet.https if port in TLS_PORTS else internet.http
            serve(host, port=port, address=address)
    literal, another = internet.address(), internet.address()
    internet.http("literal.explain.test", port=8080, address=literal)
    web = internet.http("aliases.explain.test", port=8088).app
    internet.listen_in(world.host, "127.0.0.1", 8088, web.handler)
    box = world.sandbox("explained", POLICY.format(literal=literal))
    draw = random.Random(SEED)
    drawn = (
        Question(
            draw.choice(HOSTS).format(literal=literal, another=another),
            *(draw.choice(pool) for pool in (PORTS, METHODS, PATHS, QUERIES)),
        )
        for _ in range(SAMPLE)
    )
    # What is asked of the model router no policy decides: only its other ports are asked for here.
    questions = [q for q in drawn if (q.host, q.port) not in ROUTED]
    yield box, questions
    world.capture.forget(box.name)
    box.delete()


def explained(world: World, box: Sandbox, question: Question) -> Said:
    """What `policy explain` says."""
    body = {"sandbox": box.name, "target": question.url, "method": question.method}
    status, told = world.netmgrd.api("POST", "/v1/explain", body)
    assert status == 200, (question, told)
    permitted = told["verdict"] != "denied"
    return Said(permitted, None if permitted else told["reason"])


def tried(box: Sandbox, question: Question) -> Said:
    """What the wire says."""
    address = question.host
    if not address[0].isdigit():
        with inside(box.namespace.path):
            query = DNSRecord.question(address.rstrip("."))
            query.add_ar(EDNS0(udp_len=1232))  # errors are extended only for who asks so
            raw = query.send(RESOLVER, timeout=ANSWER_S)
        answer = DNSRecord.parse(raw)
        if not answer.rr:
            said = re.search(rb"([a-z_]+) rule=", raw)
            assert said, answer
            return Said(False, said[1].decode())
        address = str(answer.rr[0].rdata)
    with box.namespace.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.settimeout(ANSWER_S)
        try:
            sock.connect((address, question.port))
        except ConnectionRefusedError:
            return Said(False, recorded(box, address, question.port)["reason"])
        return asked(box, sock, question)


def asked(box: Sandbox, sock: socket.socket, question: Question) -> Said:
    """One request on a connection, and the head of its answer."""
    if question.port in TLS_PORTS:
        context = ssl.create_default_context(cafile=box.facts["env"]["SSL_CERT_FILE"])
        sock = context.wrap_socket(sock, server_hostname=question.host.rstrip("."))
    with sock:
        usual = (question.port == 443) or (question.port == 80)
        authority = question.host if usual else f"{question.host}:{question.port}"
        lines = [f"{question.method} {question.target} HTTP/1.1", f"Host: {authority}"]
        lines += ["Content-Length: 0", "Connection: close", "", ""]
        sock.sendall("\r\n".join(lines).encode())
        head = b""
        while b"\r\n\r\n" not in head:
            data = sock.recv(65536)
            assert data, (question, head)
            head += data
    denied = re.search(rb"(?i)x-netmgr-reason: ([a-z_]+)", head)
    if denied:
        return Said(False, denied[1].decode())
    assert head.startswith(b"HTTP/1.1 200"), (question, head)
    return Said(True, None)


def recorded(box: Sandbox, address: str, port: int) -> dict[str, Any]:
    """The record of a connection that the kernel refused."""
    return box.wait_record(
        lambda r: r["destination"]["ip"] == address and r["destination"]["port"] == port
    )


def test_explain_and_the_wire_agree(world: World, stage: tuple[Sandbox, list[Question]]) -> None:
    box, questions = stage
    differ = []
    seen = set()
    for question in questions:
        told, met = explained(world, box, question), tried(box, question)
        seen.add(told)
        if told != met:
            differ.append(f"{question.method} {question.url}: explained {told}, met {met}")
    assert not differ, "\n".join(differ)
    reasons = {said.reason for said in seen}
    assert reasons >= {None, "no_matching_rule", "port_not_allowed", "raw_ip", "deny_rule"}
    assert reasons >= {"method_not_allowed", "path_not_allowed", "malformed_request"}
