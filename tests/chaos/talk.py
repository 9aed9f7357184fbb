"""One conversation of a sandbox with a server, and waiting for it: what chaos is judged by."""

import socket
import time
from collections.abc import Callable

from dnslib import DNSRecord
from world import Sandbox
from world.namespaces import inside

NAME = "echo.chaos.test"
POLICY = f"""\
version: 1
network_policies:
  db:
    endpoints: [{{host: {NAME}, port: 5432}}]
    binaries: [{{path: "/**"}}]
"""
RECOVERY_S = 8.0  # a worker starts in about a second on two busy cores; a second try backs off


def talk(box: Sandbox, timeout: float = 1.0) -> bool:
    """One new conversation: resolve, connect, echo."""
    try:
        with inside(box.namespace.path):
            raw = DNSRecord.question(NAME).send("169.254.77.1", timeout=timeout)
        address = str(DNSRecord.parse(raw).rr[0].rdata)
        with box.namespace.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
            sock.settimeout(timeout)
            sock.connect((address, 5432))
            sock.sendall(b"\0hello")
            return sock.recv(100) == b"\0hello"
    except (OSError, IndexError):
        return False


def wait_until(fits: Callable[[], bool], deadline_s: float = RECOVERY_S) -> float:
    """How long it took until `fits`."""
    began = time.monotonic()
    while not fits():
        assert time.monotonic() - began < deadline_s, "no recovery"
        time.sleep(0.05)
    return time.monotonic() - began
