"""Owns: asking a program in JSON lines over a socket, and never waiting for it longer than said.

Every question has a number; a late answer is told by it and thrown away. What breaks the lines, or
answers without an end, is not asked again until another socket comes. Knows nothing of routing.
"""

import json
import socket
import time
from collections.abc import Mapping
from typing import Any, Final

MAX_ANSWER: Final = 128 * 1024  # bytes of a line: a thousand ids


class PlugInFault(Exception):
    """What a plug-in raised, where it runs."""


class LineChannel:
    """One program, behind one socket after the other."""

    def __init__(self) -> None:
        self._sock: socket.socket | None = None
        self._number = 0
        self._received = b""

    @property
    def open(self) -> bool:
        """Whether there is a program."""
        return self._sock is not None

    def use(self, sock: socket.socket) -> None:
        """Take a channel to a program that has just been started; one that was there is closed."""
        self.close()
        sock.setblocking(False)
        self._sock, self._received = sock, b""

    def tell(self, what: str, body: Mapping[str, Any]) -> int:
        """Send a line; its number.

        Raises:
            ConnectionError: there is no program, or it does not read.
        """
        return self.tell_text(what, json.dumps(body, separators=(",", ":"))[1:])

    def tell_text(self, what: str, rest: str) -> int:
        """The same, where the line's other members are text already, up to their brace."""
        if self._sock is None:
            raise ConnectionError("its program does not run")
        self._number += 1
        comma = "" if rest == "}" else ","
        data = f'{{"id":{self._number},"do":"{what}"{comma}{rest}\n'.encode()
        try:
            sent = self._sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError as gone:
            self.close()
            raise ConnectionError("its program has ended") from gone
        if sent != len(data):  # half a line: nothing that follows could be read
            self.close()
            raise ConnectionError("its program does not read what it is asked")
        return self._number

    def answer(self, number: int, patience_s: float) -> dict[str, Any]:
        """The answer to a line.

        Raises:
            TimeoutError: it took too long.
            ConnectionError: the program has ended.
            PlugInFault: it says that it failed.
            ValueError: it is no JSON object in a line of MAX_ANSWER bytes.
        """
        ends = time.monotonic() + patience_s
        while True:
            answer = json.loads(self._line(ends))
            if not isinstance(answer, dict):
                raise ValueError("answered what is no JSON object")
            if answer.get("id") == number:
                if "fault" in answer:
                    raise PlugInFault(str(answer["fault"]))
                return answer

    def close(self) -> None:
        """Let the program go: the end of its input ends it."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    def _line(self, ends: float) -> bytes:
        while b"\n" not in self._received:
            if len(self._received) > MAX_ANSWER:
                self.close()
                raise ValueError(f"answered with more than {MAX_ANSWER} bytes in a line")
            self._received += self._more(ends)
        line, _, self._received = self._received.partition(b"\n")
        return line

    def _more(self, ends: float) -> bytes:
        sock = self._sock
        if sock is None:
            raise ConnectionError("its program has ended")
        left = ends - time.monotonic()
        if left <= 0:
            raise TimeoutError("took too long")
        sock.settimeout(left)
        try:
            data = sock.recv(64 * 1024)
        except TimeoutError:
            raise TimeoutError("took too long") from None
        except OSError:
            data = b""
        finally:
            sock.setblocking(False)
        if not data:
            self.close()
            raise ConnectionError("its program has ended")
        return data
