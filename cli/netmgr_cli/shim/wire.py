"""Owns: one question to the daemon over its unix socket, without any library.

Knows nothing of what is asked. One connection per question: the daemon closes it, so the answer
ends where the bytes end.
"""

from netmgr_cli.shim import light

DEFAULT_SOCKET = "/run/netmgr/api.sock"
CONNECT_S = 5.0  # a unix socket answers at once, or its backlog is full
READ_S = 15.0  # an answer from memory and the kernel
CHANGE_S = 60.0  # a change waits for every worker (netmgr.calls has the same)
MAX_ANSWER = 16 * 1024 * 1024  # bytes; a list of 4,000 sandboxes has 6 MiB
UNREACHABLE = "daemon_unreachable"
_UNRESERVED = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~")


class Failure(Exception):
    """What the daemon answered instead, or why it did not.

    Attributes:
        code: as in the API's error body; UNREACHABLE where nobody answered.
        details: further facts of the daemon's.
    """

    def __init__(self, code: str, message: str, details: object = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details if isinstance(details, dict) else {}


def ask(
    path: str, method: str, target: str, body: object = None, deadline_s: float = READ_S
) -> dict[str, object]:
    """The daemon's answer: a JSON object.

    Args:
        path: of the daemon's socket.
        target: path and query, percent-encoded.
        body: a JSON value, or None for no body.
        deadline_s: for each read; the daemon answers in one piece.

    Raises:
        Failure: nobody answers there, or the daemon says no.
    """
    request = render_request(method, target, body)
    try:
        sock = light.connect(path, CONNECT_S)
    except OSError as error:
        raise Failure(UNREACHABLE, f"no netmgr daemon at {path}: {error}") from error
    try:
        sock.settimeout(deadline_s)
        sock.sendall(request)
        answer = _read_all(sock)
    except OSError as error:
        raise Failure(
            UNREACHABLE, f"the netmgr daemon at {path} did not answer: {error}"
        ) from error
    finally:
        sock.close()
    return parse_answer(answer)


def _read_all(sock: light.Socket) -> bytes:
    pieces = []
    size = 0
    while piece := sock.recv(65536):
        size += len(piece)
        if size > MAX_ANSWER:
            raise Failure("host_failed", f"the daemon's answer is longer than {MAX_ANSWER} bytes")
        pieces.append(piece)
    return b"".join(pieces)


def quote(text: str) -> str:
    """A text as part of a query (RFC 3986, section 2.1)."""
    return "".join(
        chr(byte) if byte in _UNRESERVED else f"%{byte:02X}"
        for byte in text.encode(errors="surrogateescape")
    )


def render_request(method: str, target: str, body: object) -> bytes:
    """One HTTP/1.1 request (RFC 9112) that asks for the connection's end after the answer."""
    content = b"" if body is None else light.dumps(body).encode()
    head = f"{method} {target} HTTP/1.1\r\nhost: netmgr\r\nconnection: close\r\n"
    if body is not None:
        head += f"content-type: application/json\r\ncontent-length: {len(content)}\r\n"
    return head.encode("ascii") + b"\r\n" + content


def parse_answer(answer: bytes) -> dict[str, object]:
    """The object in a whole answer.

    Raises:
        Failure: it is an error of the daemon's, is cut short, or nothing that we can read.
    """
    head, end, content = answer.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    status = lines[0].split(" ")[1] if lines[0].startswith("HTTP/1.1 ") else ""
    if not end or not status.isascii() or not status.isdigit():
        raise Failure(UNREACHABLE, "the daemon's answer broke off")
    for line in lines[1:]:
        name, _, value = line.partition(":")
        if name.lower() == "content-length" and value.strip() != str(len(content)):
            raise Failure(UNREACHABLE, "the daemon's answer broke off")
    try:
        found = light.loads(content) if content else {}
    except (ValueError, RecursionError) as error:
        raise Failure("host_failed", f"the daemon answered {status}, and no JSON") from error
    if not isinstance(found, dict):
        raise Failure("host_failed", f"the daemon answered {status}, and no JSON object")
    if int(status) >= 400:
        inner = found.get("error")
        inner = inner if isinstance(inner, dict) else {}
        message = inner.get("message", f"the daemon answered {status} without saying why")
        code = str(inner.get("code", "host_failed"))
        raise Failure(code, str(message), inner.get("details"))
    return found
