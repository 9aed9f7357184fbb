"""Model calls through inference.local: real TLS, a scripted provider on a real socket."""

import asyncio
import gzip
import json
import time
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from netmgr.inference.profiles import Provider
from netmgr.inference.resolve import resolve_route
from netmgr.process.ipc import Answer, PeerRefused
from netmgr.secret import Secret
from tests.unit.proxy.rig import Rig, Tee, internet_authority, read_response, rig, run

POLICY = "version: 1\nnetwork_policies: {}\n"
KEY = "sk-real-key"
CHAT = b'{ "model" : "gpt-x", "messages":[{"role":"user","content":"hi"}] }'
USAGE = b'{"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":3}}'


def route(**more: Any) -> dict[str, Any]:
    """A route to the test's provider."""
    key = more.pop("credential", KEY)
    config = {"OPENAI_BASE_URL": "https://api.provider.test/v1", "IDLE_TIMEOUT": "5"}
    provider = Provider("prod", "openai", {"OPENAI_API_KEY": Secret(key)}, config)
    resolved = resolve_route(provider, "real-model", route_id="r1", timeout_s=5.0)
    return {**resolved.to_wire(with_credential=True), "connect_timeout_s": 5.0, **more}


def put_in_force(r: Rig, **more: Any) -> None:
    r.role.apply({"op": "inference", "scope": None, "route": route(**more)})


def call(path: str = "/v1/chat/completions", body: bytes = CHAT, method: str = "POST") -> bytes:
    return (
        f"{method} {path} HTTP/1.1\r\nHost: inference.local\r\nAuthorization: Bearer unused\r\n"
        f"Content-Type: application/json\r\nCookie: secret=1\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body


async def answer_json(reader: Tee, writer: asyncio.StreamWriter) -> None:
    """A provider that answers every POST with a completion."""
    while True:
        head, _, body = (await reader.until(b"\r\n\r\n")).partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0] or 0)
        while len(body) < length:
            body += await reader.read()
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nServer: secret-sauce\r\n"
            b"Set-Cookie: a=b\r\nX-Request-Id: up-1\r\nContent-Length: %d\r\n\r\n%b"
            % (len(USAGE), USAGE)
        )


async def provider(r: Rig, script: Any) -> Any:
    return await r.origin("api.provider.test", 443, script, tls="api.provider.test")


def test_a_call_is_rewritten_sent_and_recorded(tmp_path: Path) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:
            put_in_force(r)
            origin = await provider(r, answer_json)
            reader, writer = await r.open("inference.local", 443, tls=True)
            for _ in range(2):
                writer.write(call())
                status, head, body = await read_response(reader)
                assert (status, body) == (200, USAGE)
                assert b"secret" not in head
                assert b"a=b" not in head
                assert b"x-request-id: up-1" in head.lower()
            writer.close()
            assert origin.bytes.startswith(
                b"POST /v1/chat/completions HTTP/1.1\r\nhost: api.provider.test\r\n"
            )
            assert b"authorization: Bearer sk-real-key\r\n" in origin.bytes
            assert b"unused" not in origin.bytes
            assert b"cookie" not in origin.bytes.lower()
            assert origin.bytes.endswith(CHAT.replace(b"gpt-x", b"real-model"))
            assert len(origin.heard) == 1
            assert r.dials[0]["purpose"] == "inference"
            assert r.dials[0]["route"] == "r1"
            await asyncio.sleep(0.05)
            found = [x for x in r.records if x["kind"] == "inference"]
            assert len(found) == 2
            made = found[0]["inference"]
            assert (made["requested_model"], made["model"]) == ("gpt-x", "real-model")
            assert (made["tokens_in"], made["tokens_out"], made["attempts"]) == (7, 3, 1)
            assert made["ttfb_ms"] is not None
            assert KEY not in json.dumps(r.records)

    run(story())


def test_a_long_body_arrives_as_it_was_left_but_for_the_model(tmp_path: Path) -> None:
    """In pieces, which TLS sees one by one; more of them than fit into any buffer on the way."""
    text = "".join(f"{number} says é. " for number in range(200_000))
    body = json.dumps({"messages": [{"content": text}], "model": "gpt-x", "n": 1.0}).encode()

    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:
            put_in_force(r)
            origin = await provider(r, answer_json)
            reader, writer = await r.open("inference.local", 443, tls=True)
            for sent in (body, CHAT):
                writer.write(call(body=sent))
                assert (await read_response(reader))[0] == 200
                assert origin.bytes.endswith(sent.replace(b'"gpt-x"', b'"real-model"'))
            writer.close()

    run(story())


@pytest.mark.parametrize("framing", ["chunked", "close"])
def test_events_arrive_as_they_are_made(tmp_path: Path, framing: str) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:
            put_in_force(r)
            go = asyncio.Event()

            async def stream(reader: Tee, writer: asyncio.StreamWriter) -> None:
                await reader.until(b"\r\n\r\n")
                extra = b"Transfer-Encoding: chunked\r\n" if framing == "chunked" else b""
                writer.write(
                    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n%b\r\n" % extra
                )
                for n in range(3):
                    await go.wait()
                    go.clear()
                    event = b'data: {"n":%d}\n\n' % n
                    size = b"%x\r\n" % len(event)
                    writer.write(size + event + b"\r\n" if framing == "chunked" else event)
                writer.write(b"0\r\n\r\n" if framing == "chunked" else b"")
                writer.close()

            await provider(r, stream)
            reader, writer = await r.open("inference.local", 443, tls=True)
            writer.write(call(body=CHAT[:-1] + b',"stream":true}'))
            head = await reader.readuntil(b"\r\n\r\n")
            assert b"transfer-encoding: chunked" in head
            for n in range(3):
                go.set()
                assert b'data: {"n":%d}\n\n' % n in await reader.readuntil(b"\n\n\r\n")
            assert await reader.readuntil(b"0\r\n\r\n") == b"0\r\n\r\n"
            writer.close()

    run(story())


@pytest.mark.parametrize("how", ["stall", "break"])
def test_a_broken_stream_ends_with_the_protocols_error_event(tmp_path: Path, how: str) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:
            put_in_force(r, idle_timeout_s=0.3)

            async def stream(reader: Tee, writer: asyncio.StreamWriter) -> None:
                await reader.until(b"\r\n\r\n")
                writer.write(
                    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                    b"Transfer-Encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n"
                )
                await writer.drain()
                if how == "break":
                    await asyncio.sleep(0.1)
                    writer.transport.abort()

            await provider(r, stream)
            reader, writer = await r.open("inference.local", 443, tls=True)
            writer.write(call())
            answer = await reader.read(-1)
            assert b"data: 1\n\n" in answer
            assert b'"error"' in answer
            assert not answer.endswith(b"0\r\n\r\n")
            writer.close()
            reason = "upstream_timeout" if how == "stall" else "upstream_unreachable"
            assert reason.encode() in answer
            record = await r.record(reason)
            assert record["verdict"] == "failed"
            assert record["http"]["status"] == 200

    run(story())


def test_a_provider_that_does_not_answer_is_a_504_in_the_protocols_shape(tmp_path: Path) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:
            put_in_force(r, first_byte_timeout_s=0.3)

            async def silent(reader: Tee, writer: asyncio.StreamWriter) -> None:
                await reader.until(b"\r\n\r\n")

            origin = await provider(r, silent)
            reader, writer = await r.open("inference.local", 443, tls=True)
            writer.write(call())
            status, _, body = await read_response(reader)
            assert status == 504
            assert json.loads(body)["error"]["code"] == "upstream_timeout"
            async with asyncio.timeout(1):
                await origin.ended[0].wait()
            writer.close()

    run(story())


def test_a_refused_head_request_has_no_body(tmp_path: Path) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:
            put_in_force(r)
            reader, writer = await r.open("inference.local", 443, tls=True)
            writer.write(b"HEAD /v1/models HTTP/1.1\r\nHost: inference.local\r\n\r\n")
            head, _, body = (await reader.read(-1)).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 403 ")
            assert b"content-length: " in head
            assert body == b""
            writer.close()

    run(story())


@pytest.mark.parametrize(
    ("request_bytes", "status", "code"),
    [
        (call("/v1/unknown"), 403, "pattern_not_supported"),
        (call("/v1/../x"), 403, "pattern_not_supported"),
        (call("/../x"), 400, "malformed_request"),
        (call(body=b'{"model":1,"model":2}'), 400, "malformed_request"),
        (call(body=b"no json"), 400, "malformed_request"),
        (call().replace(b"Host: inference.local", b"Host: evil.test"), 421, "authority_mismatch"),
        (
            call().replace(b"Content-Length: 66", b"Content-Length: 99999999999"),
            413,
            "limit_exceeded",
        ),
        (call().replace(b"Cookie: ", b"Content-Encoding: br\r\nX: "), 415, "malformed_request"),
        (
            call().replace(b"Cookie: ", b"Transfer-Encoding: chunked\r\nX: "),
            400,
            "malformed_request",
        ),
        (call().replace(b"Cookie: ", b"X-Many: 1\r\n" * 101 + b"X: "), 431, "limit_exceeded"),
    ],
)
def test_what_is_refused_has_the_protocols_shape(
    tmp_path: Path, request_bytes: bytes, status: int, code: str
) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:
            put_in_force(r)
            origin = await provider(r, answer_json)
            reader, writer = await r.open("inference.local", 443, tls=True)
            writer.write(request_bytes)
            got, head, body = await read_response(reader)
            assert got == status, body
            error = json.loads(body)["error"]
            assert error["code"] == code
            assert "type" in error
            assert b"x-netmgr-reason: " + code.encode() in head
            writer.close()
            assert not origin.heard
            assert (await r.record(code))["kind"] == "inference"

    run(story())


def answering(head: bytes, *pieces: bytes, chunked: bool = False) -> Any:
    """A provider that says this to every request, piece by piece."""

    async def script(reader: Tee, writer: asyncio.StreamWriter) -> None:
        await reader.until(b"\r\n\r\n")
        size = b"Content-Length: %d" % sum(map(len, pieces))
        writer.write(head + (b"Transfer-Encoding: chunked" if chunked else size) + b"\r\n\r\n")
        for piece in pieces:
            await writer.drain()
            await asyncio.sleep(0.02)
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
        writer.write(b"0\r\n\r\n" if chunked else b"")

    return script


def unchunked(data: bytes) -> bytes:
    """RFC 9112 §7.1, without extensions and trailers."""
    found = b""
    while True:
        size, _, data = data.partition(b"\r\n")
        if not int(size, 16):
            return found
        found += data[: int(size, 16)]
        data = data[int(size, 16) + 2 :]


LONG = "sk-operator-key-4711"


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (b"401 No", b"application/json"),
        (b"200 OK", b"text/event-stream"),
        (b"500 Oh", b"text/html"),
    ],
)
def test_a_key_that_the_provider_repeats_stays_outside(
    tmp_path: Path, status: bytes, kind: bytes, chunked: bool
) -> None:
    key = LONG.encode()
    text = b'data: {"error":"bad key ' + key + b" or " + key + b'"}\n\n'
    pieces = [text[:30], text[30:31], text[31:44], text[44:]]

    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:
            put_in_force(r, credentials={"OPENAI_API_KEY": LONG})
            head = b"HTTP/1.1 %b\r\nContent-Type: %b\r\nX-Request-Id: %b\r\n" % (status, kind, key)
            await provider(r, answering(head, *pieces, chunked=chunked))
            reader, writer = await r.open("inference.local", 443, tls=True)
            writer.write(call())
            got, lines, body = await read_response(reader)
            assert got == int(status[:3])
            mark = b"[redacted]".ljust(len(key), b"*")
            assert b"x-request-id: " + mark in lines
            if chunked or kind == b"text/event-stream":  # a stream is always framed anew
                body = unchunked(await reader.readuntil(b"0\r\n\r\n"))
            assert body == text.replace(key, mark)
            writer.close()

    run(story())


@pytest.mark.parametrize(
    ("coding", "coded", "status"),
    [
        ("gzip", gzip.compress(CHAT), 200),
        ("x-gzip", gzip.compress(CHAT[:9]) + gzip.compress(CHAT[9:]), 200),
        ("Deflate", zlib.compress(CHAT), 200),
        ("gzip", CHAT, 400),
        ("gzip", gzip.compress(CHAT)[:-9], 400),
        ("deflate", zlib.compress(CHAT) + b"x", 400),
        ("gzip", gzip.compress(bytes(64 * 1024 * 1024)), 413),
    ],
)
def test_a_coded_body_is_read_to_a_bound_and_sent_plain(
    tmp_path: Path, coding: str, coded: bytes, status: int
) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:
            put_in_force(r)
            origin = await provider(r, answer_json)
            reader, writer = await r.open("inference.local", 443, tls=True)
            field = f"Content-Encoding: {coding}\r\nX: ".encode()
            writer.write(call(body=coded).replace(b"Cookie: ", field, 1))
            got, _, body = await read_response(reader)
            assert (got, len(origin.heard)) == (status, 1 if status == 200 else 0), body
            writer.close()
            if status == 200:
                assert origin.bytes.endswith(CHAT.replace(b"gpt-x", b"real-model"))
                assert b"content-encoding" not in origin.bytes.lower()

    run(story())


def test_a_coding_that_is_not_read_is_told_which_are(tmp_path: Path) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:
            put_in_force(r)
            reader, writer = await r.open("inference.local", 443, tls=True)
            writer.write(call().replace(b"Cookie: ", b"Content-Encoding: br\r\nX: "))
            status, head, _ = await read_response(reader)
            assert (status, b"accept-encoding: gzip, deflate, identity" in head.lower()) == (
                415,
                True,
            )
            writer.close()

    run(story())


def test_without_a_route_it_is_503_and_says_how_to_set_one(tmp_path: Path) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:
            reader, writer = await r.open("inference.local", 443, tls=True)
            writer.write(call())
            status, _, body = await read_response(reader)
            assert status == 503
            assert b"netmgr inference set" in body
            put_in_force(r)
            await provider(r, answer_json)
            writer.write(call())  # in force on the connection that was refused before
            assert (await read_response(reader))[0] == 200
            writer.close()

    run(story())


def test_an_ended_credential_is_not_sent_and_the_client_is_told(tmp_path: Path) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:
            origin = await provider(r, answer_json)
            put_in_force(r, expires_at=time.time() + 1.0)
            reader, writer = await r.open("inference.local", 443, tls=True)
            writer.write(call())
            assert (await read_response(reader))[0] == 200
            await asyncio.sleep(1.1)
            writer.write(call())  # the same head on the same connection
            status, head, body = await read_response(reader)
            assert status == 503
            assert b"x-netmgr-reason: credential_expired" in head
            error = json.loads(body)["error"]
            assert (error["code"], error["type"]) == ("credential_expired", "server_error")
            assert "prod" not in error["message"]
            assert len(origin.heard) == 1
            assert origin.bytes.count(b"POST ") == 1
            put_in_force(r, expires_at=None)
            writer.write(call())
            assert (await read_response(reader))[0] == 200
            writer.close()
            await asyncio.sleep(0.05)
            refused = [x for x in r.records if x["reason"] == "credential_expired"]
            assert [x["verdict"] for x in refused] == ["failed"]

    run(story())


def test_a_redirect_is_never_followed(tmp_path: Path) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:
            put_in_force(r)

            async def redirect(reader: Tee, writer: asyncio.StreamWriter) -> None:
                await reader.until(b"\r\n\r\n")
                writer.write(
                    b"HTTP/1.1 307 T\r\nLocation: https://evil.test/\r\nContent-Length: 0\r\n\r\n"
                )

            await provider(r, redirect)
            reader, writer = await r.open("inference.local", 443, tls=True)
            writer.write(call())
            status, head, body = await read_response(reader)
            assert status == 502
            assert b"evil" not in head + body
            assert len(r.dials) == 1
            writer.close()

    run(story())


def test_a_refused_key_is_relayed_and_recorded_as_such(tmp_path: Path) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:
            put_in_force(r)

            async def refuse(reader: Tee, writer: asyncio.StreamWriter) -> None:
                await reader.until(b"\r\n\r\n")
                writer.write(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\n{}")

            await provider(r, refuse)
            reader, writer = await r.open("inference.local", 443, tls=True)
            writer.write(call())
            assert (await read_response(reader))[0] == 401
            writer.close()
            assert (await r.record("upstream_auth"))["verdict"] == "failed"

    run(story())


def test_plain_http_is_refused_with_the_right_url(tmp_path: Path) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:
            put_in_force(r)
            reader, writer = await r.open("inference.local", 80)
            writer.write(call())
            status, _, body = await read_response(reader)
            assert (status, json.loads(body)["error"]["code"]) == (403, "unsupported_protocol")
            assert b"https://inference.local/v1" in body
            writer.close()
            with pytest.raises(ConnectionResetError):
                await r.touch("inference.local", 8080)

    run(story())


def test_expect_continue_is_answered_by_us(tmp_path: Path) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:
            put_in_force(r)
            await provider(r, answer_json)
            reader, writer = await r.open("inference.local", 443, tls=True)
            head, _, body = call().partition(b"\r\n\r\n")
            writer.write(head + b"\r\nExpect: 100-continue\r\n\r\n")
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            writer.write(body)
            assert (await read_response(reader))[0] == 200
            writer.close()

    run(story())


def test_a_body_that_is_too_long_is_refused_while_it_comes(tmp_path: Path) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY, inference_body_bytes=1000) as r:
            put_in_force(r)
            reader, writer = await r.open("inference.local", 443, tls=True)
            head = call().partition(b"\r\n\r\n")[0].partition(b"Content-Length")[0]
            writer.write(head + b"Transfer-Encoding: chunked\r\n\r\n")
            for _ in range(20):
                writer.write(b"64\r\n" + b"x" * 100 + b"\r\n")
            status, answer, _ = await read_response(reader)
            assert status == 413
            assert b"connection: close" in answer
            writer.close()

    run(story())


def test_a_new_credential_never_meets_an_old_connection(tmp_path: Path) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:
            origin = await provider(r, answer_json)
            for key in ("sk-one", "sk-two"):
                put_in_force(r, credential=key)
                reader, writer = await r.open("inference.local", 443, tls=True)
                writer.write(call())
                assert (await read_response(reader))[0] == 200
                writer.close()
            assert len(origin.heard) == 2
            assert b"sk-two" not in origin.heard[0]

    run(story())


def test_a_route_of_its_own_and_a_provider_with_its_own_roots(tmp_path: Path) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:
            put_in_force(r, base_url="https://nowhere.test/v1")
            own = route(ca_pem=internet_authority().certificate_pem, id="r2")
            r.role.apply({"op": "inference", "scope": "box", "route": own})
            await provider(r, answer_json)
            reader, writer = await r.open("inference.local", 443, tls=True)
            writer.write(call())
            assert (await read_response(reader))[0] == 200
            writer.close()
            assert r.dials[0]["route"] == "r2"

    run(story())


def test_a_pooled_connection_that_died_is_replaced(tmp_path: Path) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:
            put_in_force(r)

            async def once(reader: Tee, writer: asyncio.StreamWriter) -> None:
                await reader.until(b"}]")
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
                await reader.until(b"POST")
                writer.transport.abort()

            origin = await provider(r, once)
            reader, writer = await r.open("inference.local", 443, tls=True)
            for _ in range(2):
                writer.write(call())
                assert (await read_response(reader))[0] == 200
            writer.close()
            assert len(origin.heard) == 2

    run(story())


def test_a_route_is_verified_by_a_probe(tmp_path: Path) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:
            origin = await provider(r, answer_json)
            answer = await r.role.on_ask("probe", {"route": route()}, ())
            found = answer.body["validated"]
            assert found[0]["url"] == "https://api.provider.test/v1/chat/completions"
            assert b"Bearer sk-real-key" in origin.bytes
            assert b'"model":"real-model"' in origin.bytes
            r.refusals = {"api.provider.test": "name_not_resolved"}
            with pytest.raises(PeerRefused) as caught:
                await r.role.on_ask("probe", {"route": route()}, ())
            assert "name_not_resolved" in caught.value.message
            assert KEY not in caught.value.message

    run(story())


def test_an_alias_picks_its_model_and_others_get_the_routes(tmp_path: Path) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:
            put_in_force(r, aliases={"gpt-x": "small-model"})
            origin = await provider(r, answer_json)
            reader, writer = await r.open("inference.local", 443, tls=True)
            writer.write(call())
            await read_response(reader)
            writer.write(call(body=CHAT.replace(b"gpt-x", b"other")))
            await read_response(reader)
            assert origin.bytes.index(b'"small-model"') < origin.bytes.index(b'"real-model"')
            record = await r.record("allowed", kind="inference")
            assert record["inference"]["model"] == "small-model"
            assert record["inference"]["requested_model"] == "gpt-x"
            writer.close()

    run(story())


async def stream_without_end(reader: Tee, writer: asyncio.StreamWriter) -> None:
    await reader.until(CHAT[-10:])
    writer.write(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"9\r\ndata: 1\n\n\r\n"
    )
    await asyncio.sleep(30)


@pytest.mark.parametrize(
    ("provider_name", "scope", "ends"),
    [("prod", None, True), ("other", None, False), (None, None, True), (None, "team=ml", False)],
)
def test_a_revocation_cuts_what_is_under_way_and_nothing_else(
    tmp_path: Path, provider_name: str | None, scope: str | None, ends: bool
) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:
            put_in_force(r)
            await provider(r, stream_without_end)
            reader, writer = await r.open("inference.local", 443, tls=True)
            writer.write(call())
            await reader.readuntil(b"data: 1")
            # A change alone: the call goes on by the route that it began with.
            put_in_force(r, id="r2", provider="third")
            r.role.apply({"op": "inference.revoke", "provider": provider_name, "scope": scope})
            if ends:
                async with asyncio.timeout(20):
                    rest = await reader.read(-1)
                assert b'"code":"not_configured"' in rest, "the stream's own error event"
                assert not rest.endswith(b"0\r\n\r\n"), "and no good end"
                record = await r.record("not_configured", kind="inference")
                assert "revoked" in record["message"]
            else:
                await reader.read(100)  # what is left of the event
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.3):
                        await reader.read(100)
            writer.close()

    run(story())


def test_a_label_has_a_route_and_the_sandboxes_own_stands_above_it(tmp_path: Path) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:
            routes = r.role._routes
            box = r.role._view.get("10.77.0.5")
            assert box is not None
            labelled = replace(box, labels={"team": "ml"})
            for scope in (None, "team=ml", "box"):
                r.role.apply({"op": "inference", "scope": scope, "route": route(id=str(scope))})
                found = routes.get(labelled)
                assert found is not None
                assert found.route.id == str(scope)
            r.role.apply({"op": "inference", "scope": "box", "route": None})
            for sandbox, wanted in ((labelled, "team=ml"), (box, "None")):
                found = routes.get(sandbox)
                assert found is not None
                assert found.route.id == wanted

    run(story())


class Till:
    """The daemon's ledger, as a worker sees it: it refuses once `left` calls have begun."""

    def __init__(self, r: Rig, left: int, refusal: PeerRefused | None = None) -> None:
        self.left = left
        self.asked: list[Any] = []
        self.refusal = refusal
        self._answer = r.answer_daemon
        r.daemon.on_ask = self.answer
        self.settled: list[Any] = []
        self._hear = r.hear
        r.daemon.on_tell = self.hear
        r.role.apply({"op": "meter", "all": True, "sandboxes": [], "tenants": []})

    async def answer(self, what: str, body: Any, fds: tuple[int, ...]) -> Any:
        if what != "reserve":
            return await self._answer(what, body, fds)
        self.asked.append(body)
        self.left -= 1
        if self.left < 0:
            raise self.refusal or PeerRefused("unsupported", "what is that?")
        return Answer()

    def hear(self, what: str, body: Any, fds: tuple[int, ...]) -> None:
        if what == "settle":
            self.settled.append(body)
        else:
            self._hear(what, body, fds)


def spent() -> PeerRefused:
    details = {"remedy": "netmgr inference limit set", "retry_after_s": 77, "final": True}
    return PeerRefused("budget_exceeded", "the limit of sandbox box is reached", details)


def test_a_limited_call_asks_first_and_tells_what_it_used(tmp_path: Path) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:
            put_in_force(r)
            till = Till(r, 1, spent())
            origin = await provider(r, answer_json)
            reader, writer = await r.open("inference.local", 443, tls=True)
            writer.write(call())
            assert (await read_response(reader))[0] == 200
            assert till.asked[0] | {"number": 0} == {
                "number": 0,
                "address": "10.77.0.5",
                "provider": "prod",
                "model": "real-model",
                "billable": True,
                "tier": "",
            }
            number = till.asked[0]["number"]
            assert till.settled == [
                {"number": number, "input": 7, "output": 3, "cache_read": 0, "cache_write": 0}
            ]
            heard = len(origin.bytes)
            writer.write(call(body=b'{"model":"gpt-x","service_tier":"priority"}'))
            status, head, body = await read_response(reader)
            assert till.asked[1]["tier"] == "priority"
            assert status == 429
            assert b"retry-after: 77" in head.lower()
            assert b"x-should-retry: false" in head.lower()
            error = json.loads(body)["error"]
            assert (error["code"], error["type"]) == ("budget_exceeded", "rate_limit_error")
            assert len(origin.bytes) == heard, "nothing is sent to the provider"
            assert (await r.record("budget_exceeded"))["verdict"] == "denied"
            writer.close()

    run(story())


def test_a_call_that_fails_gives_its_place_back(tmp_path: Path) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:
            put_in_force(r)
            till = Till(r, 9)
            r.refusals["api.provider.test"] = "upstream_unreachable"
            reader, writer = await r.open("inference.local", 443, tls=True)
            writer.write(call())
            assert (await read_response(reader))[0] == 502
            assert [told["number"] for told in till.settled] == [till.asked[0]["number"]]
            assert till.settled[0]["input"] == 0
            writer.close()

    run(story())


def test_a_ledger_that_cannot_answer_is_no_permission(tmp_path: Path) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:
            put_in_force(r)
            Till(r, 0)
            origin = await provider(r, answer_json)
            reader, writer = await r.open("inference.local", 443, tls=True)
            writer.write(call())
            assert (await read_response(reader))[0] == 503
            assert origin.bytes == b""
            writer.close()

    run(story())


def test_who_is_not_limited_asks_nothing(tmp_path: Path) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:
            put_in_force(r)
            till = Till(r, 0)
            r.role.apply({"op": "meter", "all": False, "sandboxes": ["other"], "tenants": ["t"]})
            await provider(r, answer_json)
            reader, writer = await r.open("inference.local", 443, tls=True)
            writer.write(call())
            assert (await read_response(reader))[0] == 200
            assert till.asked == till.settled == []
            writer.close()

    run(story())
