"""Owns: one conversation from inside a sandbox, byte for byte. Run there by the system's Python.

    python3 -I probe.py '{"to": "api.test:443", "tls": "api.test", "send": "GET / ..."}'

Prints one JSON object, or for a list of conversations a list of them: received (latin-1), fails
(a class of failure, or null), detail, end ("closed", "reset", "open") and seconds from the first
packet to the outcome. With `responses` it stops at that many whole ones, else at the end or when
nothing came for `wait` seconds.
Standard library only.
"""

import errno
import json
import re
import socket
import ssl
import sys
import time

CONNECT_S = 5.0
FAILURES = {
    errno.ECONNREFUSED: "refused",
    errno.EHOSTUNREACH: "unreachable",  # ICMP 3/13, administratively prohibited, arrives as this
    errno.ENETUNREACH: "unreachable",
    errno.EADDRNOTAVAIL: "no address",
    errno.EACCES: "prohibited",
    errno.EPERM: "prohibited",
    errno.ECONNRESET: "reset",
    errno.EPIPE: "reset",
    errno.EINVAL: "no address",
}


def failure(error):
    """The class of an exception."""
    if isinstance(error, socket.gaierror):
        return "unknown name"
    if isinstance(error, ssl.SSLError):
        return "tls"
    if isinstance(error, TimeoutError):
        return "silent"
    return FAILURES.get(error.errno, "other")


def connect(words):
    """A socket to `to`; TLS with the name `tls`, where it is given."""
    host, _, port = words["to"].rpartition(":")
    kind = socket.SOCK_DGRAM if words.get("udp") else socket.SOCK_STREAM
    family, kind, protocol, _, address = socket.getaddrinfo(host.strip("[]"), int(port), 0, kind)[0]
    sock = socket.socket(family, kind, protocol)
    sock.settimeout(CONNECT_S)
    if words.get("udp"):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    sock.connect(address)
    if "tls" in words:
        context = ssl.create_default_context()
        context.set_alpn_protocols(["http/1.1"])
        sock = context.wrap_socket(sock, server_hostname=words["tls"])
    return sock


def whole_responses(text):
    """How many HTTP responses with a Content-Length are complete."""
    count = 0
    while True:
        head, end, rest = text.partition("\r\n\r\n")
        length = re.search(r"(?i)content-length: *(\d+)", head)
        if not end or not length or len(rest) < int(length[1]):
            return count
        count, text = count + 1, rest[int(length[1]) :]


def converse(words, said):
    """Send, then read until the end, or until nothing came for `wait` seconds."""
    with connect(words) as sock:
        sock.settimeout(words.get("wait", 2.0))
        if words["send"]:
            sock.sendall(words["send"].encode("latin-1"))
        said["end"] = "open"
        while True:
            try:
                data = sock.recv(65536)
            except TimeoutError:
                if words.get("udp") and not said["received"]:
                    raise
                return
            said["received"] += data.decode("latin-1")
            if not data:
                said["end"] = "closed"
                return
            if "responses" in words and whole_responses(said["received"]) >= words["responses"]:
                return


def talk(words):
    """How one conversation went."""
    said = {"received": "", "fails": None, "detail": "", "end": "none"}
    began = time.monotonic()
    try:
        converse(words, said)
    except OSError as error:
        said["fails"], said["detail"] = failure(error), repr(error)
        if said["received"] and said["fails"] == "reset":
            said["fails"], said["end"] = None, "reset"
    said["seconds"] = time.monotonic() - began
    return said


def main():
    """Talk as asked, once or several times, and say how it went."""
    words = json.loads(sys.argv[1])
    print(json.dumps([talk(each) for each in words] if isinstance(words, list) else talk(words)))


main()
