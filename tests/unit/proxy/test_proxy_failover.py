"""A routing file in a worker: real TLS, scripted endpoints on real sockets, every kind of failure.

Of each story the client's bytes are looked at: one whole answer or one well-formed error.
"""

import asyncio
import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from netmgr.inference.profiles import Provider
from netmgr.inference.resolve import resolve_route
from netmgr.inference.scope import endpoint_scope
from netmgr.routing.generation import Binding
from netmgr.routing.schema import parse_routing
from netmgr.routing.wire import generation_to_wire
from netmgr.secret import Secret
from tests.unit.proxy.rig import Origin, Rig, Tee, read_response, rig, run
from tests.unit.proxy.test_proxy_model_call import CHAT, POLICY, call

FILE = """
version: 1
sensitivity: {order: [public, internal, restricted], unlabelled: internal, unscanned: restricted}
endpoints:
  near: {provider: near, model: near-model, facts: {clearance: restricted, residency: [eu]}}
  far: {provider: far, model: far-model, facts: {clearance: internal, residency: [us]}}
  other: {provider: other, model: other-model, facts: {clearance: public, residency: [us]}}
routes:
  default: [near, far, other]
  exposed: [other]
failure: {attempts: 3, deadline: 4s, first_byte: 500ms, idle: 2s,
          breaker: {failures: 3, window: 30s, open: 600ms}}
"""
NAMES = ("near", "far", "other")
STREAM = CHAT[:-1] + b',"stream":true}'


def answer(name: str, status: int = 200, **fields: str) -> bytes:
    body = json.dumps({"from": name}).encode()
    lines = [f"{key.replace('_', '-')}: {value}\r\n" for key, value in fields.items()]
    head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n{''.join(lines)}"
    return head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body


async def whole_request(reader: Tee) -> bytes:
    head, _, body = (await reader.until(b"\r\n\r\n")).partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
    while len(body) < length:
        piece = await reader.read()
        if not piece:
            raise EOFError
        body += piece
    return head + b"\r\n\r\n" + body


def answering(reply: bytes) -> Any:
    async def script(reader: Tee, writer: asyncio.StreamWriter) -> None:
        while True:
            await whole_request(reader)
            writer.write(reply)

    return script


def breaking(reply: bytes) -> Any:
    """Says so much and resets the connection."""

    async def script(reader: Tee, writer: asyncio.StreamWriter) -> None:
        await whole_request(reader)
        writer.write(reply)
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.transport.abort()

    return script


async def hanging(reader: Tee, writer: asyncio.StreamWriter) -> None:
    await whole_request(reader)
    await asyncio.sleep(30)


def put_in_force(r: Rig, text: str = FILE, shadow: str | None = None) -> None:
    file, bindings = parse_routing(text, "routing.yaml"), {}
    for name in NAMES:
        config = {"OPENAI_BASE_URL": f"https://{name}.provider.test/v1"}
        provider = Provider(name, "openai", {"OPENAI_API_KEY": Secret(f"sk-{name}")}, config)
        route = resolve_route(provider, f"{name}-model", route_id=f"endpoint-{name}")
        wire = replace(route, connect_timeout_s=1.0).to_wire(with_credential=True)
        r.role.apply({"op": "inference", "scope": endpoint_scope(name), "route": wire})
        bindings[name] = Binding(frozenset(p.value for p in route.dialect.protocols))
    live = generation_to_wire(file.doc, 1, bindings)
    trial = None
    if shadow is not None:
        doc = parse_routing(shadow, "shadow.yaml").doc
        trial = generation_to_wire(doc, 2, bindings)
    r.role.apply({"op": "routing", "live": live, "shadow": trial})


async def serve(r: Rig, **scripts: Any) -> dict[str, Origin]:
    """An endpoint for each script; one that is None cannot be reached."""
    found = {}
    for name, script in scripts.items():
        host = f"{name}.provider.test"
        if script is None:
            r.refusals[host] = "upstream_unreachable"
        else:
            found[name] = await r.origin(host, 443, script, tls=host)
    return found


async def ask(r: Rig, body: bytes = CHAT) -> tuple[int, bytes, bytes]:
    reader, writer = await r.open("inference.local", 443, tls=True)
    writer.write(call(body=body))
    try:
        return await asyncio.wait_for(read_response(reader), 10)
    finally:
        writer.close()


async def told(r: Rig) -> dict[str, Any]:
    """The record of the last call."""
    for _ in range(200):
        found = [record for record in r.records if record["kind"] == "inference"]
        if found:
            return dict(found[-1])
        await asyncio.sleep(0.01)
    raise AssertionError("no record")


FIRST_FAILS = {
    "refuses": (None, "connect", None),
    "resets": (breaking(b""), "reset", None),
    "breaks within the head": (breaking(b"HTTP/1.1 200 OK\r\nContent-"), "reset", None),
    "breaks before the body": (
        breaking(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        ),
        "reset",
        200,
    ),
    "hangs": (hanging, "timeout", None),
    "is busy": (answering(answer("near", 429, retry_after="1")), "429", 429),
    "is broken": (answering(answer("near", 500)), "500", 500),
    "is overloaded": (answering(answer("near", 503)), "503", 503),
}


def test_time_that_passes_within_a_decision_closes_no_endpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop's clock has milliseconds: between two looks at it one may pass."""
    ticks = itertools.count()

    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:
            real = r.role._opened.now
            late = replace(r.role._opened, now=lambda: real() + next(ticks) * 0.001)
            monkeypatch.setattr(r.role, "_room", late)
            put_in_force(r)
            script = answering(answer("near", 500))
            await serve(r, near=script, far=answering(answer("far")))
            assert (await ask(r))[2] == b'{"from": "far"}'

    run(story())


@pytest.mark.parametrize("how", FIRST_FAILS)
def test_the_next_endpoint_answers_and_the_client_sees_nothing_else(
    tmp_path: Path, how: str
) -> None:
    script, _, status = FIRST_FAILS[how]

    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:
            put_in_force(r)
            origins = await serve(r, near=script, far=answering(answer("far")))
            got = await ask(r)
            assert (got[0], got[2]) == (200, b'{"from": "far"}')
            assert b"x-netmgr-model" not in got[1].lower(), "names of endpoints stay outside"
            far = origins["far"].bytes
            assert far.endswith(CHAT.replace(b"gpt-x", b"far-model"))
            assert b"Bearer sk-far" in far
            assert b"sk-near" not in far
            if "near" in origins and origins["near"].bytes:
                assert origins["near"].bytes.endswith(CHAT.replace(b"gpt-x", b"near-model"))
                assert b"sk-far" not in origins["near"].bytes
            record = await told(r)
            assert record["verdict"] == "allowed"
            made = record["inference"]
            assert [each["endpoint"] for each in made["tried"]] == ["near", "far"]
            assert [each["status"] for each in made["tried"]] == [status, 200]
            assert made["tried"][0]["reason"] is not None
            assert made["tried"][1]["reason"] is None
            assert (made["attempts"], made["provider"], made["model"]) == (2, "far", "far-model")
            assert (made["route"], made["label"]) == ("default", "internal")
            assert made["rejected"] == {"other": "clearance"}
            assert made["request_id"].encode() in got[1]

    run(story())


def test_an_endpoint_that_is_not_permitted_is_never_asked(tmp_path: Path) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:
            put_in_force(r)
            script = answering(answer("other"))
            origins = await serve(r, near=None, far=None, other=script)
            got = await ask(r)
            assert got[0] == 502
            assert json.loads(got[2])["error"]["code"] == "upstream_unreachable"
            got = await ask(r, CHAT.replace(b"gpt-x", b"exposed"))
            assert got[0] == 403
            error = json.loads(got[2])["error"]
            assert error["code"] == "no_permitted_endpoint"
            assert error["rule"] == "clearance"
            assert b"x-should-retry: false" in got[1]
            assert origins["other"].heard == [], "not even a connection"
            assert all(dial["name"] != "other.provider.test" for dial in r.dials)
            record = await r.record("no_permitted_endpoint")
            assert record["rule"] == "clearance"
            assert record["inference"]["rejected"] == {"other": "clearance"}

    run(story())


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_stops_the_plan(tmp_path: Path, status: int) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:
            put_in_force(r)
            scripts = {"near": answering(answer("near", status)), "far": answering(answer("far"))}
            origins = await serve(r, **scripts)
            got = await ask(r)
            assert got[0] == 502
            assert json.loads(got[2])["error"]["code"] == "upstream_auth"
            assert b"near" not in got[2]
            assert origins["far"].heard == []
            record = await told(r)
            assert (record["reason"], record["verdict"]) == ("upstream_auth", "failed")

    run(story())


@pytest.mark.parametrize("status", [400, 404, 413, 422])
def test_what_is_the_clients_own_fault_is_its_answer(tmp_path: Path, status: int) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:
            put_in_force(r)
            scripts = {"near": answering(answer("near", status)), "far": answering(answer("far"))}
            origins = await serve(r, **scripts)
            got = await ask(r)
            assert (got[0], got[2]) == (status, b'{"from": "near"}')
            assert origins["far"].heard == []

    run(story())


def test_the_last_endpoints_answer_is_the_clients_whatever_it_is(tmp_path: Path) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:
            put_in_force(r)
            far = answering(answer("far", 500))
            await serve(r, near=answering(answer("near", 429)), far=far)
            got = await ask(r)
            assert (got[0], got[2]) == (500, b'{"from": "far"}')

    run(story())


def test_after_the_first_byte_there_is_no_way_back(tmp_path: Path) -> None:
    half = (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"a\r\ndata: {}\n\n\r\na\r\nda"
    )

    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:
            put_in_force(r)
            origins = await serve(r, near=breaking(half), far=answering(answer("far")))
            reader, writer = await r.open("inference.local", 443, tls=True)
            writer.write(call(body=STREAM))
            got = await asyncio.wait_for(reader.read(-1), 10)
            writer.close()
            assert got.count(b"HTTP/1.1") == 1
            assert b"data: {}\n\n" in got
            assert b'"code":"upstream_unreachable"' in got
            assert not got.endswith(b"0\r\n\r\n"), "it must not look whole"
            assert origins["far"].heard == []

    run(story())


def as_told(state: dict[str, bytes]) -> Any:
    """An endpoint that answers what `state` says at that moment."""

    async def near(reader: Tee, writer: asyncio.StreamWriter) -> None:
        while True:
            await whole_request(reader)
            writer.write(state["near"])

    return near


def test_a_breaker_opens_probes_and_closes(tmp_path: Path) -> None:
    state = {"near": answer("near", 500)}

    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:
            put_in_force(r)
            origins = await serve(r, near=as_told(state), far=answering(answer("far")))
            for _ in range(5):
                assert (await ask(r))[2] == b'{"from": "far"}'
            assert origins["near"].bytes.count(b"POST ") == 3, "then it was left alone"
            state["near"] = answer("near")
            await asyncio.sleep(0.7)
            assert (await ask(r))[2] == b'{"from": "near"}'

    run(story())


def test_with_all_breakers_open_a_call_waits_and_then_is_told_when(tmp_path: Path) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:
            text = FILE.replace("open: 600ms", "open: 20s")
            put_in_force(r, text)
            await serve(r, near=answering(answer("near", 500)), far=answering(answer("far", 500)))
            for _ in range(3):
                assert (await ask(r))[0] == 500
            status, head, body = await ask(r)
            assert status == 503
            assert json.loads(body)["error"]["code"] == "no_available_endpoint"
            seconds = int(head.lower().partition(b"retry-after: ")[2].split()[0])
            assert 15 <= seconds <= 20

    run(story())


def test_who_waits_is_let_in_as_soon_as_a_breaker_lets_one_through(tmp_path: Path) -> None:
    state = {"near": answer("near", 500)}

    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:
            only = FILE.replace("default: [near, far, other]", "default: [near]")
            put_in_force(r, only.replace("open: 600ms", "open: 300ms"))
            await serve(r, near=as_told(state))
            for _ in range(3):
                assert (await ask(r))[0] == 500
            state["near"] = answer("near")
            started = asyncio.get_running_loop().time()
            both = await asyncio.gather(ask(r), ask(r))
            assert [each[2] for each in both] == [b'{"from": "near"}'] * 2
            assert 0.05 < asyncio.get_running_loop().time() - started < 0.5

    run(story())


def test_a_revocation_drops_what_was_not_started(tmp_path: Path) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:
            put_in_force(r)
            origins = await serve(r, near=hanging, far=answering(answer("far")))
            asked = asyncio.ensure_future(ask(r))
            while not r.dials:
                await asyncio.sleep(0.01)
            r.role.apply({"op": "inference.revoke", "provider": "far", "scope": None})
            status, _, _ = await asked
            assert status == 504
            assert origins["far"].heard == []

    run(story())


def test_a_new_file_leaves_a_plan_alone(tmp_path: Path) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:
            put_in_force(r)
            await serve(r, near=hanging, far=answering(answer("far")))
            asked = asyncio.ensure_future(ask(r))
            while not r.dials:
                await asyncio.sleep(0.01)
            put_in_force(r, FILE.replace("[near, far, other]", "[near]"))
            status, _, body = await asked
            assert (status, body) == (200, b'{"from": "far"}')
            assert (await ask(r))[0] == 504

    run(story())


def test_models_are_the_routes_of_the_file(tmp_path: Path) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:
            put_in_force(r)
            reader, writer = await r.open("inference.local", 443, tls=True)
            writer.write(call("/v1/models", b"", "GET"))
            _, _, body = await read_response(reader)
            writer.close()
            assert [each["id"] for each in json.loads(body)["data"]] == ["default", "exposed"]

    run(story())


def test_a_file_on_trial_is_told_and_not_followed(tmp_path: Path) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:
            put_in_force(r, shadow=FILE.replace("[near, far, other]", "[far, other]"))
            await serve(r, near=answering(answer("near")))
            assert (await ask(r))[2] == b'{"from": "near"}'
            shadow = (await told(r))["inference"]["shadow"]
            assert shadow["differs"] is True
            assert (shadow["generation"], shadow["plan"]) == (2, ["far"])
            assert shadow["rejected"] == {"other": "clearance"}

    run(story())


def test_an_operator_is_told_of_a_refused_key_and_of_an_endpoint_elsewhere(tmp_path: Path) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:
            put_in_force(r)
            await serve(r, near=answering(answer("near", 401)), far=answering(answer("far")))
            assert (await ask(r))[0] == 502
            found = await r.record("upstream_auth", kind="finding")
            assert "endpoint near (provider near)" in found["message"]
            assert found["remedy"].startswith("netmgr provider update near")
            r.refusals["near.provider.test"] = "address_blocked"
            r.role._opened.upstreams.close()
            assert (await ask(r))[2] == b'{"from": "far"}'
            found = await r.record("address_blocked", kind="finding")
            assert "not where it is declared to be" in found["message"]
            dials = len(r.dials)
            assert (await ask(r))[2] == b'{"from": "far"}'
            assert [dial["name"] for dial in r.dials[dials:]] == [], "its breaker is open"

    run(story())


def test_an_endpoint_whose_credential_has_ended_is_passed_by(tmp_path: Path) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:
            put_in_force(r)
            origins = await serve(r, near=answering(answer("near")), far=answering(answer("far")))
            live = r.role._routes.endpoint("near")
            assert live is not None
            ended = replace(live.route, expires_at=1.0).to_wire(with_credential=True)
            r.role.apply({"op": "inference", "scope": endpoint_scope("near"), "route": ended})
            assert (await ask(r))[2] == b'{"from": "far"}'
            assert origins["near"].heard == []
            tried = (await told(r))["inference"]["tried"]
            assert [each["reason"] for each in tried] == ["credential_expired", None]

    run(story())
