"""A client that holds many idle TLS connections: `hold_idle.py ADDRESS NAME CA COUNT`.

Every connection does one request, so that it is known to be terminated and kept alive. Prints how
many are held, and holds them until its standard input ends. Runs inside a sandbox.
"""

import resource
import socket
import ssl
import sys

DEADLINE_S = 20.0


def main() -> None:
    """Hold them."""
    address, name, ca, count = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
    resource.setrlimit(resource.RLIMIT_NOFILE, (count + 64, count + 64))
    context = ssl.create_default_context(cafile=ca)
    request = f"GET /v1/items HTTP/1.1\r\nHost: {name}\r\n\r\n".encode()
    held = []
    for _ in range(count):
        raw = socket.create_connection((address, 443), DEADLINE_S)
        connection = context.wrap_socket(raw, server_hostname=name)
        connection.sendall(request)
        if not connection.recv(65536).startswith(b"HTTP/1.1 200"):
            break
        held.append(connection)
    print(len(held), flush=True)
    sys.stdin.read()


main()
