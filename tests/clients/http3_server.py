"""An HTTP/3 server that says which way a request came. Arguments: address, certificate file."""

import asyncio
import sys

from aioquic.asyncio import QuicConnectionProtocol, serve
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import H3Event, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ProtocolNegotiated, QuicEvent

PORT = 443


class Server(QuicConnectionProtocol):
    """Answers every request in the same way."""

    _http: H3Connection | None = None

    def quic_event_received(self, event: QuicEvent) -> None:
        if isinstance(event, ProtocolNegotiated):
            self._http = H3Connection(self._quic)
        if self._http is not None:
            for each in self._http.handle_event(event):
                self._answer(each)

    def _answer(self, event: H3Event) -> None:
        if isinstance(event, HeadersReceived) and self._http is not None:
            self._http.send_headers(event.stream_id, [(b":status", b"200")])
            self._http.send_data(event.stream_id, b"over h3", end_stream=True)
            self.transmit()


async def main(address: str, certificate: str) -> None:
    configuration = QuicConfiguration(is_client=False, alpn_protocols=H3_ALPN)
    configuration.load_cert_chain(certificate)
    await serve(address, PORT, configuration=configuration, create_protocol=Server)
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
