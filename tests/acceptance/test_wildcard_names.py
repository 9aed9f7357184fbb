"""Case 34: a sandbox that asks for more names than a wildcard may bring into being, or too fast.

In a world with a small bound: each new name is stored and put in force before it is answered.
"""

import socket
import time
from collections.abc import Callable

import pytest
from acceptance.stage import POLICIES
from dnslib import DNSRecord
from world import Sandbox, World
from world.namespaces import inside

pytestmark = pytest.mark.root

RESOLVER = "169.254.77.1"
NAMES = 40
FLOOD = 2000  # ten times what one sandbox may ask in a second
ANSWER_S = 5.0


def ask(box: Sandbox, name: str) -> str:
    """What dig would say of a name."""
    with inside(box.namespace.path):
        raw = DNSRecord.question(name).send(RESOLVER, timeout=ANSWER_S)
    answer = DNSRecord.parse(raw)
    return str(answer.rr[0].rdata) if answer.rr else "none"


def test_names_have_a_bound_and_neighbours_do_not_feel_it(
    make_world: Callable[[], World],
) -> None:
    world = make_world()
    world.daemon(wildcard_names_per_sandbox=NAMES)
    box, neighbour = world.sandbox("a", POLICIES["wildcard"]), world.sandbox("b", POLICIES["site"])
    addresses = [ask(box, f"n{number}.w.test") for number in range(NAMES)]
    assert len({*addresses} - {"none"}) == NAMES
    assert ask(box, "fresh.w.test") == "none"
    record = box.wait_record(lambda r: r["reason"] == "limit_exceeded")
    assert (record["kind"], record["verdict"]) == ("dns", "denied")
    assert "wildcard_names_per_sandbox" in record["message"]
    assert ask(box, "n7.w.test") == addresses[7]
    with box.namespace.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for number in range(FLOOD):
            sock.sendto(DNSRecord.question(f"f{number}.w.test").pack(), (RESOLVER, 53))
        began = time.monotonic()
        assert ask(neighbour, "site.test") != "none"
        assert time.monotonic() - began < 1.0
    assert world.internet.zone.queries == [], "names are resolved when they are dialled"
