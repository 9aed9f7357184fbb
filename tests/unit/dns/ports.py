"""Owns: one free port number for both transports, as a name server has it."""

import socket
from typing import Final

TRIES: Final = 50  # the other transport may have the number already, on a busy machine


def bind_both(address: str) -> tuple[socket.socket, socket.socket]:
    """A UDP socket and a TCP listener on the same port of `address`."""
    for _ in range(TRIES):
        listener = socket.create_server((address, 0))
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            udp.bind(listener.getsockname())
        except OSError:
            udp.close()
            listener.close()
        else:
            return udp, listener
    raise RuntimeError(f"no port of {address} was free for both in {TRIES} tries")
