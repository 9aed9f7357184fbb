"""Endpoints that fail in every way they can: the sandbox sees one whole answer or one well-formed
error, byte for byte, and what may not be asked gets no byte at all.
"""

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from acceptance.stage import POLICIES
from world import Sandbox, World
from world.internet import Site
from world.streams import Stream
from world.web import Behaviour, Request, response

pytestmark = pytest.mark.root

NAMES = ("first", "second", "outside")
FILE = """\
version: 1
sensitivity: {order: [public, internal], unlabelled: internal, unscanned: internal}
endpoints:
  first: {provider: first, model: first-1, facts: {clearance: internal, price: {in: 0, out: 0}}}
  second: {provider: second, model: second-1, facts: {clearance: internal, price: {in: 1, out: 1}}}
  outside: {provider: outside, model: outside-1, facts: {clearance: public, price: {in: 2, out: 2}}}
prefer:
  - by: [price_out]
failure: {attempts: 3, deadline: 20s, first_byte: 600ms, idle: 1s,
          breaker: {failures: 100, window: 30s, open: 1s}}
"""
KEPT_S = 1.1  # the dialer's resolver keeps every address for a second
EVENTS = [f'data: {{"n": {number}}}\n\n' for number in range(5)]
URL = "https://inference.local/v1/chat/completions"


def answer_of(name: str) -> bytes:
    """A whole answer; whose it is can be told."""
    return json.dumps({"choices": [], "from": name}).encode()


def answers(name: str, status: int = 200, **headers: str) -> Behaviour:
    """Each answer ends its connection: a kept one would hide that nobody listens any more."""

    async def behave(request: Request, stream: Stream) -> None:
        await stream.write(response(status, answer_of(name), connection="close", **headers))

    return behave


def breaks(reply: bytes) -> Behaviour:
    """Says so much, and breaks the connection off."""

    async def behave(request: Request, stream: Stream) -> None:
        await stream.write(reply)
        await asyncio.sleep(0.1)
        stream.abort()

    return behave


async def hangs(request: Request, stream: Stream) -> None:
    await asyncio.sleep(5)


def streams(stop_after: int, *, hang: bool = False) -> Behaviour:
    """Sends some events of EVENTS; all of them: it ends well."""

    async def behave(request: Request, stream: Stream) -> None:
        await stream.write(STREAM_HEAD)
        for event in EVENTS[:stop_after]:
            await stream.write(b"%x\r\n%b\r\n" % (len(event), event.encode()))
            await asyncio.sleep(0.02)
        if stop_after == len(EVENTS):
            await stream.write(b"0\r\n\r\n")
        elif hang:
            await asyncio.sleep(5)
        else:
            stream.abort()

    return behave


STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
)
# name -> (what the first endpoint does, what it is called in the record)
FAILURES: dict[str, tuple[Behaviour, str]] = {
    "resets": (breaks(b""), "upstream_unreachable"),
    "half a head": (breaks(b"HTTP/1.1 200 OK\r\nconte"), "upstream_unreachable"),
    "a head and no body": (breaks(STREAM_HEAD), "upstream_unreachable"),
    "hangs": (hangs, "upstream_timeout"),
    "429": (answers("first", 429), "upstream_unreachable"),
    "500": (answers("first", 500), "upstream_unreachable"),
    "502": (answers("first", 502), "upstream_unreachable"),
    "no HTTP": (breaks(b"SSH-2.0-OpenSSH_9.6\r\n"), "upstream_unreachable"),
}


@pytest.fixture(scope="module")
def sites(world: World) -> Iterator[dict[str, Site]]:
    """Three endpoints, and the routing file that names them."""
    made, providers = {}, {}
    for name in NAMES:
        host = f"{name}.chaos.test"
        made[name] = world.internet.https(host, answers(name))
        world.internet.zone.set(host, made[name].server.address, ttl=0)
        providers[name] = f"https://{host}/v1"
    with world.routed(FILE, providers):
        yield made


@pytest.fixture(scope="module")
def shared(world: World, sites: dict[str, Site]) -> Iterator[Sandbox]:
    """One sandbox for all stories."""
    box = world.sandbox("failover", POLICIES["nothing"])
    yield box
    box.delete()


@pytest.fixture
def box(world: World, sites: dict[str, Site], shared: Sandbox) -> Iterator[Sandbox]:
    """The sandbox, without records; afterwards the endpoint that may not be asked got nothing."""
    shared.forget_records()
    for name, site in sites.items():
        site.app.behaviour = answers(name)
        site.app.forget()
        site.server.forget()
    since = world.capture.mark()
    yield shared
    assert sites["outside"].server.connections == []
    world.capture.assert_silent("inet", dst=sites["outside"].server.address, since=since)


def call(box: Sandbox, *, stream: bool = False) -> tuple[int, str, str]:
    """curl's status, and the head and the body that it got."""
    body = json.dumps({"model": "any", "messages": [], **({"stream": True} if stream else {})})
    words = ["curl", "-sS", "-N", "-i", "--http1.1", "--max-time", "9", URL, "-d", body]
    done = box.run(*words, "-H", "content-type: application/json")
    head, _, rest = done.stdout.replace("\r\n", "\n").partition("\n\n")
    return done.returncode, head, rest


def tried(box: Sandbox) -> list[tuple[str, str | None]]:
    """Endpoint and reason of every attempt of the last call."""
    record = box.wait_record(lambda r: bool((r["inference"] or {}).get("tried")))
    return [(each["endpoint"], each["reason"]) for each in record["inference"]["tried"]]


@pytest.mark.parametrize("how", FAILURES)
def test_the_second_answers_whole(sites: dict[str, Site], box: Sandbox, how: str) -> None:
    sites["first"].app.behaviour, reason = FAILURES[how]
    code, head, body = call(box)
    got = (code, head.split()[1], body.encode())
    assert got == (0, "200", answer_of("second")), box.records(kind="inference")
    assert head.count("HTTP/1.1") == 1
    assert tried(box) == [("first", reason), ("second", None)]
    for name in ("first", "second"):
        (request,) = sites[name].app.requests
        assert json.loads(request.body) == {"model": f"{name}-1", "messages": []}
        assert request.header("authorization") == f"Bearer sk-{name}"


@pytest.mark.parametrize("how", ["certificate", "no listener"])
def test_the_second_answers_where_the_first_is_not_there(
    world: World, sites: dict[str, Site], box: Sandbox, how: str
) -> None:
    server, zone = sites["first"].server, world.internet.zone
    before, name = server.tls, "first.chaos.test"
    if how == "certificate":
        server.tls = world.internet.authority.server_context(name, self_signed=True)
    else:
        zone.set(name, world.internet.address(), ttl=0)
        time.sleep(KEPT_S)
    try:
        code, head, body = call(box)
    finally:
        server.tls = before
        zone.set(name, server.address, ttl=0)
        time.sleep(KEPT_S)
    got = (code, head.split()[1], body.encode())
    assert got == (0, "200", answer_of("second")), box.records(kind="inference")
    assert sites["first"].app.requests == [], "no byte of a request"


def test_a_certificate_that_changes_under_a_kept_connection(
    world: World, sites: dict[str, Site], box: Sandbox
) -> None:
    """What was verified goes on as it was; the next connection is verified anew."""
    server, app = sites["first"].server, sites["first"].app
    before = server.tls
    changed = world.internet.authority.server_context("first.chaos.test", self_signed=True)

    async def behave(request: Request, stream: Stream) -> None:
        server.tls = changed
        kept = {} if len(app.requests) == 1 else {"connection": "close"}
        await stream.write(response(200, answer_of("first"), **kept))

    app.behaviour = behave
    one = ["--max-time", "9", URL, "-d", '{"model": "any"}']
    try:
        done = box.run("curl", "-sS", *one, "--next", *one, "--next", *one)
    finally:
        server.tls = before
    assert done.stdout.encode() == answer_of("first") * 2 + answer_of("second")
    assert len(app.requests) == 2, "the changed one got no byte of the third"
    assert len(server.connections) == 2, "kept, and refused"


@pytest.mark.parametrize("how", ["resets", "a head and no body", "hangs", "429", "401"])
def test_where_none_answers_there_is_one_error(
    world: World, sites: dict[str, Site], box: Sandbox, how: str
) -> None:
    behaviour = answers("both", 401) if how == "401" else FAILURES[how][0]
    for name in ("first", "second"):
        sites[name].app.behaviour = behaviour
    code, head, body = call(box)
    status = int(head.split()[1])
    assert code == 0
    assert head.count("HTTP/1.1") == 1
    if how == "429":  # the last one's own answer, whole
        assert (status, body.encode()) == (429, answer_of("first"))
        return
    error = json.loads(body)["error"]
    expected = {"hangs": (504, "upstream_timeout"), "401": (502, "upstream_auth")}
    assert (status, error["code"]) == expected.get(how, (502, "upstream_unreachable"))
    for name in NAMES:
        assert name not in body, "where endpoints are is not told"
    asked = [name for name in NAMES if sites[name].app.requests]
    assert asked == (["first"] if how == "401" else ["first", "second"])
    if how == "401":
        tried(box)  # it is on record
        (warning,) = world.show("provider", "get", "first")["warnings"]
        assert "refuses its credential since" in warning
        assert warning in [each["message"] for each in world.show("status")["credentials"]]
        sites["first"].app.behaviour = answers("first")
        assert call(box)[1].split()[1] == "200"
        box.wait_record(lambda r: r["kind"] == "inference" and r["verdict"] == "allowed")
        assert world.show("provider", "get", "first")["warnings"] == []


def test_a_stream_that_ends_well_is_whole(sites: dict[str, Site], box: Sandbox) -> None:
    sites["first"].app.behaviour = breaks(STREAM_HEAD)
    sites["second"].app.behaviour = streams(len(EVENTS))
    code, _, body = call(box, stream=True)
    assert (code, body) == (0, "".join(EVENTS))


@pytest.mark.parametrize("hang", [False, True])
@pytest.mark.parametrize("after", [1, 3])
def test_a_stream_that_breaks_ends_with_one_error_and_no_other_endpoint(
    sites: dict[str, Site], box: Sandbox, after: int, hang: bool
) -> None:
    sites["first"].app.behaviour = streams(after, hang=hang)
    code, _, body = call(box, stream=True)
    assert code != 0, "the transfer must not look whole"
    begun = "".join(EVENTS[:after])
    assert body.startswith(begun)
    (event,) = body.removeprefix(begun).strip().split("\n\n")
    error = json.loads(event.removeprefix("data: "))["error"]
    assert error["code"] == ("upstream_timeout" if hang else "upstream_unreachable")
    assert sites["second"].server.connections == []


def test_all_workers_agree_on_a_broken_endpoint_and_one_call_finds_out(
    world: World, sites: dict[str, Site], box: Sandbox, tmp_path: Path
) -> None:
    """Connections are spread over the workers; which of them has a call makes no difference."""
    path = tmp_path / "routing.yaml"
    few = FILE.replace("breaker: {failures: 100", "breaker: {failures: 4")
    # By another name: what other tests did to `first` is remembered.
    path.write_text(few.replace("  first: {", "  fresh: {"))
    before = world.show("route", "get")["revision"]
    first, server = sites["first"].app, sites["first"].server
    trusted = server.tls
    server.tls = world.internet.authority.server_context("first.chaos.test", self_signed=True)
    world.do("route", "set", str(path), "--accept-widening")
    try:
        assert many(box, 12) == ["second"] * 12
        assert len(server.connections) == 4
        server.tls = trusted
        first.behaviour = later(0.5, answers("first"))
        time.sleep(1.0)
        found = many(box, 6, at_once=True)
        assert (found.count("first"), len(first.requests)) == (1, 1), found
        assert many(box, 2) == ["first"] * 2
    finally:
        server.tls = trusted
        world.do("route", "rollback", str(before), "--accept-widening")


def later(seconds: float, behaviour: Behaviour) -> Behaviour:
    """The same after a while."""

    async def behave(request: Request, stream: Stream) -> None:
        await asyncio.sleep(seconds)
        await behaviour(request, stream)

    return behave


def many(box: Sandbox, count: int, *, at_once: bool = False) -> list[str]:
    """Who answered that many calls."""
    one = f'curl -sS --max-time 9 {URL} -d \'{{"model": "any"}}\''
    script = f"for n in $(seq {count}); do {one} {'&' if at_once else ';'} done; wait"
    done = box.run("sh", "-c", script)
    told = done.stdout.replace("}{", "}\n{").splitlines()
    return [str(json.loads(each).get("from")) for each in told]


def test_what_nobody_may_answer_is_denied_by_rule(
    world: World, sites: dict[str, Site], make_sandbox: Callable[..., Sandbox], tmp_path: Path
) -> None:
    path = tmp_path / "narrow.yaml"
    path.write_text(FILE.replace("endpoints:\n", "routes: {default: [outside]}\nendpoints:\n"))
    before = world.show("route", "get")["revision"]
    world.do("route", "set", str(path))
    box = make_sandbox(POLICIES["nothing"])
    try:
        _, head, body = call(box)
        again = [json.loads(call(box)[2])["error"]["request_id"] for _ in range(2)]
    finally:
        world.do("route", "rollback", str(before), "--accept-widening")
    assert head.split()[1] == "403"
    error = json.loads(body)["error"]
    assert (error["code"], error["rule"]) == ("no_permitted_endpoint", "clearance")
    record = box.wait_record(lambda r: r["reason"] == "no_permitted_endpoint")
    assert record["rule"] == "clearance"
    assert record["verdict"] == "denied"
    time.sleep(0.2)  # until a record has to be seen
    for number in (error["request_id"], *again):  # the later ones are counted in one record
        why = world.show("route", "why", number)
        assert why["inference"]["rejected"] == {"outside": "clearance"}
    assert "one of 2 equal ones" in world.do("route", "why", again[0])
