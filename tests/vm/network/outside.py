"""Owns: the second machine, the world outside: a name server, web servers, an eye on the wire.

    sudo /opt/venv/bin/python outside.py     port 53: names; 8080: HTTP; 9999: what was seen

Everything that the first machine sends is seen here as frames, whether or not a socket takes it.
"""

import json
import socket
import struct
import subprocess
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from dnslib import QTYPE, RR, A
from dnslib.server import BaseResolver, DNSServer

LINK, OWN, OTHER = "eth1", "192.168.77.3", "192.168.77.2"
CONTROL = 9999
NAMES = {"api.outside.example.": OWN, "gone.outside.example.": "192.168.77.9"}

seen: Counter[str] = Counter()


class Names(BaseResolver):
    """Answers what is in NAMES, and notes what was asked."""

    def resolve(self, request, handler):
        """One question."""
        name = str(request.q.qname).lower()  # resolvers mix the case, against forged answers
        seen[f"question {name}"] += 1
        reply = request.reply()
        if name in NAMES and request.q.qtype == QTYPE.A:
            reply.add_answer(RR(name, rdata=A(NAMES[name]), ttl=5))
        return reply


class Web(BaseHTTPRequestHandler):
    """Says which host was asked for; on the control port, what was seen."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """One request."""
        if self.server.server_address[1] == CONTROL:
            body = json.dumps(seen).encode()
        else:
            seen[f"request {self.path}"] += 1
            body = f"outside says {self.headers['host']}{self.path}".encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Quiet."""


def watch() -> None:
    """Count every IPv4 packet of the other machine by protocol and port, but for the control's."""
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
    sock.bind((LINK, 0))
    while True:
        frame = sock.recv(2048)
        if len(frame) < 38 or frame[26:30] != socket.inet_aton(OTHER):
            continue
        protocol, start = frame[23], 14 + (frame[14] & 0xF) * 4
        port = struct.unpack_from("!H", frame, start + 2)[0] if protocol in (6, 17) else 0
        if port != CONTROL:
            seen[f"packet {protocol}/{port} to {socket.inet_ntoa(frame[30:34])}"] += 1


def main() -> None:
    """Serve for ever."""
    subprocess.run(["ip", "address", "replace", f"{OWN}/24", "dev", LINK], check=True)
    subprocess.run(["ip", "link", "set", LINK, "up"], check=True)
    threading.Thread(target=watch, daemon=True).start()
    DNSServer(Names(), address=OWN, port=53).start_thread()
    web = ThreadingHTTPServer((OWN, 8080), Web)
    threading.Thread(target=web.serve_forever, daemon=True).start()
    ThreadingHTTPServer((OWN, CONTROL), Web).serve_forever()


if __name__ == "__main__":
    main()
