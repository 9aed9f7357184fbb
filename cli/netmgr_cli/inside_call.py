"""Owns: one model call from inside a sandbox, the way a program there makes it: its resolver, its
address of inference.local, its certificate authority, its limits.

Only the sockets are made in the sandbox's namespace; nothing is started there. Knows nothing of
which route answers.
"""

import http.client
import json
import os
import secrets
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, Final

from netmgr.errors import NotVerified
from netmgr.kernel.syscalls import setns
from netmgr.model import INFERENCE_NAME
from netmgr.settings.table import GATEWAY
from netmgr_cli.enter import open_namespace
from netmgr_cli.linux import CLONE_NEWNET
from netmgr_dns.messages import MalformedMessage, QType
from netmgr_dns.wire import parse_response, render_query

DNS_S: Final = 5.0
MAX_DATAGRAM: Final = 4096
CONNECT_S: Final = 5.0
MAX_ANSWER: Final = 1024 * 1024  # bytes; an embedding of 4,096 numbers has about 90 KiB
MAX_EXCERPT: Final = 300  # characters of a refusal in a message
_PING: Final = [{"role": "user", "content": "ping"}]
_CALLS: Final[Mapping[str, tuple[str, Mapping[str, Any]]]] = {
    "openai_chat_completions": ("/v1/chat/completions", {"messages": _PING}),
    "anthropic_messages": ("/v1/messages", {"messages": _PING, "max_tokens": 32}),
    "openai_responses": ("/v1/responses", {"input": "ping"}),
    "openai_completions": ("/v1/completions", {"prompt": "ping"}),
    "openai_embeddings": ("/v1/embeddings", {"input": "ping"}),
}

Json = dict[str, Any]


def call_inside(sandbox: Mapping[str, Any], protocol: str, model: str, timeout_s: float) -> Json:
    """Make one call.

    Args:
        sandbox: the API's sandbox object.
        protocol: what the route was verified to speak.
        timeout_s: for the answer.

    Returns:
        {protocol, address, status, ms}; for a protocol that cannot be called so, why not.

    Raises:
        NotVerified: it failed; the message names the step and what to do.
    """
    if protocol not in _CALLS:
        return {"protocol": protocol, "status": "not called: it has no plain request of its own"}
    path, body = _CALLS[protocol]
    begun = time.monotonic()
    udp, tcp = _sockets_in(Path(sandbox["netns"]))
    with udp, tcp:
        address = _resolve(udp)
        stream = _connect(tcp, address, Path(sandbox["run_dir"]) / "ca.pem")
        with stream:
            stream.settimeout(timeout_s)
            status, text = _exchange(stream, path, json.dumps({"model": model, **body}))
    if status != http.HTTPStatus.OK:
        why = " ".join(text.split())[:MAX_EXCERPT]
        raise _failed(f"answered {status}: {why}", "`netmgr observe` has the record")
    elapsed = round((time.monotonic() - begun) * 1000)
    return {"protocol": protocol, "address": address, "status": status, "ms": elapsed}


def _sockets_in(namespace: Path) -> tuple[socket.socket, socket.socket]:
    """A datagram and a stream socket of that network namespace. They are made by a thread that
    enters it and ends: this process never leaves its own."""
    made: list[socket.socket] = []
    fd = open_namespace(namespace)

    def make() -> None:
        setns(fd, CLONE_NEWNET)
        made.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        made.append(socket.socket(socket.AF_INET, socket.SOCK_STREAM))

    try:
        thread = threading.Thread(target=make)
        thread.start()
        thread.join()
    finally:
        os.close(fd)
    if len(made) != len(("udp", "tcp")):
        for sock in made:
            sock.close()
        raise _failed("its network namespace cannot be entered", "try again as root")
    return made[0], made[1]


def _resolve(udp: socket.socket) -> str:
    udp.settimeout(DNS_S)
    labels = tuple(label.encode() for label in INFERENCE_NAME.split("."))
    try:
        udp.connect((str(GATEWAY), 53))  # the kernel drops what comes from elsewhere
        udp.send(render_query(secrets.randbits(16), labels, QType.A))
        answer = parse_response(udp.recv(MAX_DATAGRAM))
    except (OSError, MalformedMessage) as error:
        raise _failed(f"its resolver does not answer: {error}", "netmgr status") from error
    for record in answer.records:
        if isinstance(record.data, IPv4Address):
            return str(record.data)
    raise _failed(f"its resolver has no address of {INFERENCE_NAME}", "netmgr sandbox check NAME")


def _connect(tcp: socket.socket, address: str, authority: Path) -> ssl.SSLSocket:
    tcp.settimeout(CONNECT_S)
    try:
        tcp.connect((address, 443))
        context = ssl.create_default_context(cafile=str(authority))
        return context.wrap_socket(tcp, server_hostname=INFERENCE_NAME)
    except OSError as error:  # ssl.SSLError is one
        raise _failed(f"{address}:443 cannot be connected to: {error}", "netmgr status") from error


def _exchange(stream: ssl.SSLSocket, path: str, body: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection(INFERENCE_NAME)
    connection.sock = stream
    try:
        connection.request("POST", path, body, {"content-type": "application/json"})
        response = connection.getresponse()
        return response.status, response.read(MAX_ANSWER).decode("utf-8", "replace")
    except (OSError, http.client.HTTPException) as error:
        why = f"no answer came: {error or type(error).__name__}"
        raise _failed(why, "a longer --timeout, or `netmgr observe`") from error


def _failed(what: str, next_step: str) -> NotVerified:
    return NotVerified(f"from inside the sandbox: {what}; next: {next_step}")
