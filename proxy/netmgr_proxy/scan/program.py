"""Owns: one of the operator's programs, as the scan worker speaks to it: a line of JSON out, a line
of JSON back, matched by number, over one unix socket.

The program is a stranger: it may be slow, wrong or gone. A line that cannot be read ends the
conversation; the daemon then starts the program anew.
"""

import asyncio
import socket
from collections.abc import Callable
from itertools import count
from typing import Any, Final, Self

from netmgr.errors import BadInput
from netmgr.middleware.bounds import MAX_PAYLOAD
from netmgr.middleware.chain import Stage
from netmgr.middleware.contract import StageResult
from netmgr.middleware.request import StageRequest
from netmgr.middleware.wire import parse_line, question_line
from netmgr.process.tasks import TaskSet
from netmgr_proxy.scan.runners import StageFailed, read_answer

MAX_LINE: Final = MAX_PAYLOAD * 4 // 3 + 512 * 1024  # a body in base64, and all else of an answer
MAX_WAITING: Final = 64  # questions that it has not answered; beyond it a stage fails at once

_Answer = tuple[dict[str, Any], bytes | None]


class Program:
    """A netmgr_proxy.scan.runners.Runner. Made by `meet`.

    Args:
        on_gone: called once when it can be asked no more.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        on_gone: Callable[[], None],
    ) -> None:
        self._on_gone = on_gone
        self._writer = writer
        self._numbers = count(1)
        self._waiting: dict[int, asyncio.Future[_Answer]] = {}
        self._gone = False
        self._tasks = TaskSet()
        self._tasks.start(self._listen(reader), name="a program's answers")

    @classmethod
    async def meet(cls, sock: socket.socket, on_gone: Callable[[], None]) -> Self:
        """The program at the other end of `sock`, which it owns from now on."""
        reader, writer = await asyncio.open_unix_connection(sock=sock, limit=MAX_LINE)
        return cls(reader, writer, on_gone)

    async def run(self, stage: Stage, request: StageRequest) -> StageResult:
        """See Runner."""
        if self._gone:
            raise StageFailed("its program is not running")
        if len(self._waiting) >= MAX_WAITING:
            raise StageFailed(f"its program has {MAX_WAITING} questions before this one")
        number = next(self._numbers)
        answered: asyncio.Future[_Answer] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answered
        try:
            self._writer.write(question_line(number, stage, request))
            doc, body = await answered
        finally:
            self._waiting.pop(number, None)
        return read_answer(stage, doc, body)

    async def close(self) -> None:
        """Speak to it no more: its end of the socket closes, and it should go."""
        await self._tasks.cancel()

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        try:
            while line := await reader.readline():
                self._take(line)
        except (BadInput, ValueError, OSError):  # ValueError: a line beyond the limit
            pass
        finally:
            self._end()

    def _take(self, line: bytes) -> None:
        number, doc, body = parse_line(line)
        waiting = self._waiting.get(number)
        if waiting is not None and not waiting.done():  # else its stage's deadline has passed
            waiting.set_result((doc, body))

    def _end(self) -> None:
        self._gone = True
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(StageFailed("its program ended"))
        self._writer.close()
        self._on_gone()
