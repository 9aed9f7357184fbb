"""The whole street on a socket: what the room makes of a request is what the provider reads."""

import asyncio
import base64
import datetime
import ipaddress
import json
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from netmgr.inference.profiles import Provider
from netmgr.inference.resolve import resolve_route
from netmgr.secret import Secret
from netmgr.testing.model_script import parse_script
from netmgr.testing.model_server import ModelServer, running_model_server
from netmgr_proxy.inference.admit import Admitted, admit
from netmgr_proxy.inference.headers import request_headers
from netmgr_proxy.inference.probe import Verification, Verified
from netmgr_proxy.inference.rewrite import pin_model
from netmgr_proxy.inference.url import join

LEFT = b'{ "zeta" : 1.0e2,\r\n"model" : '
RIGHT = b' ,"tools":[{"b":1,"a":2}], "emoji":"\xf0\x9f\x98\x80"}'
BODY = LEFT + b'"gpt-\\u0034"' + RIGHT


async def exchange(server: ModelServer, target: str, body: bytes, ca: str | None = None) -> bytes:
    """Send one request as the room words it; the raw answer."""
    config = {"OPENAI_BASE_URL": server.url + "/v4"} | ({"CA_PEM": ca} if ca else {})
    provider = Provider("p", "openai", {"OPENAI_API_KEY": Secret("sk-op")}, config)
    route = resolve_route(provider, "m-op", route_id="r")
    admitted = admit("post", target.encode(), route)
    assert isinstance(admitted, Admitted)
    pinned = pin_model(body, route.model)
    client = [(b"Authorization", b"Bearer agent"), (b"Connection", b"close"), (b"Cookie", b"c=1")]
    line = f"POST {join(route.base, admitted.path, admitted.query)} HTTP/1.1\r\n".encode()
    fields = request_headers(client, route, pinned.length)
    head = b"".join(name + b": " + value + b"\r\n" for name, value in fields)
    tls = ssl.create_default_context(cadata=route.ca_pem) if route.ca_pem else None
    reader, writer = await asyncio.open_connection(route.base.host, route.base.port, ssl=tls)
    writer.writelines([line, head, b"\r\n", *pinned.chunks])
    answer = await reader.readuntil(b"\r\n\r\n")
    length = int(answer.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
    answer += await reader.readexactly(length)
    writer.close()
    await writer.wait_closed()
    return answer


def test_the_provider_reads_the_same_bytes_but_the_model() -> None:
    async def run() -> None:
        async with running_model_server() as server:
            answer = await exchange(server, "/v1/chat/completions?x=1", BODY)
            (request,) = server.requests
            assert request["target"] == "/v4/chat/completions?x=1"
            assert base64.b64decode(request["body_base64"]) == LEFT + b'"m-op"' + RIGHT
            headers = dict(request["headers"])
            assert headers["authorization"] == "Bearer sk-op"
            assert headers["host"] == f"127.0.0.1:{server.port}"
            assert not {"cookie", "connection"} & set(headers)
            assert b'"model":"m-op"' in answer

    asyncio.run(run())


def test_over_tls(tmp_path: Path) -> None:
    authority, context = certificate(tmp_path)

    async def run() -> None:
        async with running_model_server(tls=context) as server:
            answer = await exchange(server, "/v1/completions", b'{"prompt":"p"}', authority)
            assert answer.startswith(b"HTTP/1.1 200")

    asyncio.run(run())


def test_a_verification_against_the_scripted_model() -> None:
    async def run() -> None:
        async with running_model_server() as server:
            server.script = parse_script([{"path": "/x", "reply": {}}])
            provider = Provider(
                "p",
                "openai",
                {"OPENAI_API_KEY": Secret("sk-op")},
                {"OPENAI_BASE_URL": server.url + "/v1"},
            )
            verification = Verification(resolve_route(provider, "m-op", route_id="r"))
            step = verification.step
            answer = await exchange(server, step.path, step.body)
            body = answer.partition(b"\r\n\r\n")[2]
            assert json.loads(body)["model"] == "m-op"
            outcome = verification.answered(200, "application/json", body)
            assert isinstance(outcome, Verified)
            assert outcome.url == server.url + "/v1/chat/completions"

    asyncio.run(run())


def certificate(folder: Path) -> tuple[str, ssl.SSLContext]:
    """A self-signed certificate of 127.0.0.1 as PEM, and a server context that has it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "scripted model")])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .sign(key, hashes.SHA256())
    )
    pem = signed.public_bytes(serialization.Encoding.PEM)
    (folder / "cert.pem").write_bytes(pem)
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return pem.decode(), context
