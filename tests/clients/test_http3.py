"""A browser-like client that prefers HTTP/3: QUIC is refused at once, HTTPS over TCP works.

The origin speaks HTTP/3 at the very address that the name has, and says so when it is asked from
outside: what does not come through is the fence's doing.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aioquic  # noqa: F401  # missing: the set-up has not installed what this layer needs
import pytest
from world import Sandbox, World
from world.environment import clean_environment
from world.internet import Site
from world.streams import Stream
from world.web import Request, response

pytestmark = pytest.mark.root

HERE = Path(__file__).parent
NAME = "h3.test"
OTHER = "elsewhere.test"
START_S = 30.0
AT_ONCE_S = 0.5  # an ICMP error takes a millisecond; a busy machine more
POLICY = """
version: 1
network_policies:
  web:
    endpoints: [{{host: {name}, port: 443{more}}}]
    binaries: [{{path: /**}}]
"""
REST = ", protocol: rest, access: read-only"


async def tells_of_http3(_: Request, stream: Stream) -> None:
    """Answers as an origin does that wants the next request over QUIC (RFC 7838)."""
    await stream.write(response(200, b"over tcp", alt_svc='h3=":443"; ma=86400'))


@pytest.fixture(scope="module")
def site(world: World) -> Iterator[Site]:
    """HTTPS over TCP and HTTP/3 over UDP at one address."""
    made = world.internet.https(NAME, tells_of_http3)
    leaf = world.authority.leaf_file(NAME)
    words = [sys.executable, "-I", str(HERE / "http3_server.py"), made.address, str(leaf)]
    server = subprocess.Popen(
        world.internet.namespace.command(*words),
        env=clean_environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None
    assert server.stdout.readline() == "ready\n"
    yield made
    server.terminate()
    server.communicate(timeout=START_S)


def said(done: "subprocess.CompletedProcess[str]") -> dict[str, Any]:
    """What a client printed."""
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def browse(box: Sandbox, name: str, falls_back: bool) -> dict[str, Any]:
    """A client inside. As root: the interpreter may be nobody else's to read."""
    program = [sys.executable, "-I", str(HERE / "http3_turns.py"), name]
    return said(box.run(*program, "yes" if falls_back else "no", user="root", timeout=60))


def test_the_origin_does_speak_http3(world: World, site: Site) -> None:
    program = [sys.executable, "-I", str(HERE / "http3_turns.py"), site.address, "no"]
    found = said(world.internet.namespace.run(*program, timeout=60))
    assert [found["library"][0], found["connected"][0]] == ["over h3", "over h3"]


@pytest.mark.parametrize("more", ["", REST], ids=["relayed", "rest"])
def test_an_allowed_host_is_reached_over_tcp(
    make_sandbox: Callable[..., Sandbox], site: Site, more: str
) -> None:
    box = make_sandbox(POLICY.format(name=NAME, more=more))
    found = browse(box, NAME, True)
    assert found["library"][0] == "TimeoutError", "it hears of no refusal and gives up by itself"
    error, seconds = found["connected"]
    assert error in ("ConnectionRefusedError", "OSError")
    assert seconds < AT_ONCE_S
    assert found["https"] == 200
    record = box.wait_record(lambda r: r["reason"] == "udp_blocked")
    assert record["verdict"] == "denied"
    assert (record["destination"]["name"], record["destination"]["port"]) == (NAME, 443)
    assert record["destination"]["protocol"] == "udp"


def test_nothing_tells_of_http3(make_sandbox: Callable[..., Sandbox], site: Site) -> None:
    """Neither DNS (HTTPS records) nor the answer (Alt-Svc) sends a client that way."""
    box = make_sandbox(POLICY.format(name=NAME, more=REST))
    asked = box.shell(f"dig +short {NAME} TYPE65; curl -sSi https://{NAME}/")
    assert asked.returncode == 0, asked.stderr
    assert asked.stdout.startswith("HTTP/1.1 200")
    assert asked.stdout.endswith("over tcp")
    assert "alt-svc" not in asked.stdout.lower()


def test_quic_leads_nowhere_else(
    world: World, make_sandbox: Callable[..., Sandbox], site: Site
) -> None:
    """To the origin's real address, and to a name that no rule has."""
    box = make_sandbox(POLICY.format(name=OTHER, more=""))
    found = browse(box, site.address, False)
    assert found["connected"][0] in ("ConnectionRefusedError", "OSError")
    assert found["connected"][1] < AT_ONCE_S
    record = box.wait_record(lambda r: r["reason"] == "udp_blocked")
    assert record["destination"]["ip"] == site.address
    assert browse(box, NAME, False)["connected"][0] == "gaierror"
