"""A client that prefers HTTP/3, as browsers do, and takes HTTPS where it fails.

Arguments: name, whether to try HTTPS then. Prints one line of JSON: `h3` is what came, or why
nothing did and after how many seconds; `https` is the status that came over TCP.
"""

import asyncio
import json
import socket
import ssl
import sys
import time
import urllib.request
from typing import Any, cast

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import QuicEvent

PORT = 443
WAIT_S = 3.0  # for what the fence refuses at once

# A server that must not be reached is not the place to ask for its certificate.
CONFIGURATION = QuicConfiguration(
    is_client=True, alpn_protocols=H3_ALPN, verify_mode=ssl.CERT_NONE, idle_timeout=WAIT_S
)


class Client(QuicConnectionProtocol):
    """One request. Fails as soon as the kernel tells of an ICMP error."""

    def __init__(self, *args: Any, **words: Any) -> None:
        super().__init__(*args, **words)
        self._http = H3Connection(self._quic)
        self.answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def ask(self, name: str) -> None:
        """Send GET / once the handshake is done."""
        stream = self._quic.get_next_available_stream_id()
        head = {":method": "GET", ":scheme": "https", ":authority": name, ":path": "/"}
        lines = [(key.encode(), value.encode()) for key, value in head.items()]
        self._http.send_headers(stream, lines, end_stream=True)
        self.transmit()

    def quic_event_received(self, event: QuicEvent) -> None:
        super().quic_event_received(event)
        for each in self._http.handle_event(event):
            if isinstance(each, DataReceived) and not self.answer.done():
                self.answer.set_result(each.data.decode())

    def error_received(self, exc: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(exc)


async def by_the_library(name: str) -> str:
    """As aioquic does it: over a socket that hears of no ICMP error."""
    words = {"configuration": CONFIGURATION, "create_protocol": Client}
    async with connect(name, PORT, **words) as client:
        cast(Client, client).ask(name)
        return await cast(Client, client).answer


async def by_a_connected_socket(name: str) -> str:
    """As browsers and quic-go do it."""
    loop = asyncio.get_running_loop()
    address = socket.getaddrinfo(name, PORT, socket.AF_INET, socket.SOCK_DGRAM)[0][4]
    quic = QuicConnection(configuration=CONFIGURATION)
    _, client = await loop.create_datagram_endpoint(lambda: Client(quic), remote_addr=address[:2])
    client.connect(address)
    connected = asyncio.ensure_future(client.wait_connected())
    await asyncio.wait({connected, client.answer}, return_when=asyncio.FIRST_COMPLETED)
    if not client.answer.done():
        client.ask(name)
    return await client.answer


def attempt(how: Any, name: str) -> list[Any]:
    began = time.monotonic()
    try:
        said = asyncio.run(asyncio.wait_for(how(name), WAIT_S))
    except (OSError, TimeoutError) as failure:
        said = type(failure).__name__
    return [said, time.monotonic() - began]


def main(name: str, falls_back: str) -> None:
    said: dict[str, Any] = {
        "library": attempt(by_the_library, name),
        "connected": attempt(by_a_connected_socket, name),
    }
    if falls_back == "yes":
        with urllib.request.urlopen(f"https://{name}/", timeout=WAIT_S) as answer:
            said["https"] = answer.status
    print(json.dumps(said))


if __name__ == "__main__":
    main(*sys.argv[1:])
