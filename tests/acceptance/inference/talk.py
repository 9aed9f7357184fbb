"""Owns: the test's end of the talker: conversations started and awaited, answers parsed.

Knows nothing of routes and providers.
"""

import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Final

import h11
from world import Sandbox, World
from world.environment import clean_environment

TALKER: Final = (Path(__file__).parent / "talker.py").read_text()
INSIDE_PYTHON: Final = "/usr/bin/python3"  # the machine's own: a sandbox's user may run it
ANSWER_S: Final = 45.0  # of a whole conversation; the longest of the table takes 31
END_S: Final = 10.0
INFERENCE: Final = "inference.local"

Act = dict[str, Any]


@dataclass(slots=True)
class Answer:
    """One response as the client got it. `whole` is false where its framing broke off."""

    status: int = 0
    interim: list[int] = field(default_factory=list)
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    whole: bool = False

    def header(self, name: str) -> str | None:
        """The first of that name."""
        return next((value for key, value in self.headers if key == name), None)

    @property
    def json(self) -> Any:
        """The body's value."""
        return json.loads(self.body)

    @property
    def events(self) -> list[str]:
        """The data of each server-sent event, as a client of ours understands the grammar."""
        text = self.body.decode().replace("\r\n", "\n").replace("\r", "\n")
        blocks = [block.split("\n") for block in text.split("\n\n")]
        data = [[line[5:].lstrip() for line in b if line.startswith("data:")] for b in blocks]
        return ["\n".join(lines) for lines in data if lines]


@dataclass(frozen=True, slots=True)
class Said:
    """What came of a conversation; see talker.py."""

    text: bytes
    pieces: list[tuple[float, int]]
    fails: str | None
    end: str
    seconds: float

    @property
    def answers(self) -> list[Answer]:
        """The responses, the last one perhaps broken off."""
        return parse_answers(self.text, ended=self.end not in ("open", "silent"))


class Talker:
    """A long-lived process in a sandbox, started as the operator starts one. `close` it."""

    def __init__(self, world: World, sandbox: Sandbox) -> None:
        daemon = world.netmgrd
        words = ["--socket", str(daemon.socket), "sandbox", "exec", sandbox.name, "--"]
        inside = [INSIDE_PYTHON, "-I", "-c", TALKER]
        command = [sys.executable, "-I", "-m", "netmgr_cli", *words, *inside]
        self.sandbox = sandbox
        self._process = subprocess.Popen(
            daemon.host.command(*command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=clean_environment(),
            cwd="/",
        )
        self._ids = count(1)
        self._open: dict[int, Future[Said]] = {}
        self._thread = threading.Thread(target=self._listen, name="talker", daemon=True)
        self._thread.start()

    def start(
        self, acts: Sequence[Act], *, to: str = f"{INFERENCE}:443", tls: str | None = INFERENCE
    ) -> "Future[Said]":
        """Begin a conversation."""
        number = next(self._ids)
        words: dict[str, Any] = {"id": number, "to": to, "acts": list(acts)}
        if tls is not None:
            words["tls"] = tls
        future = self._open[number] = Future()
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(words) + "\n")
        self._process.stdin.flush()
        return future

    def say(self, acts: Sequence[Act], **where: Any) -> Said:
        """A whole conversation."""
        return self.start(acts, **where).result(ANSWER_S)

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._thread.join(END_S)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            said = json.loads(line)
            pieces = [(seconds, size) for seconds, size in said["pieces"]]
            text = said["received"].encode("latin-1")
            outcome = Said(text, pieces, said["fails"], said["end"], said["seconds"])
            self._open.pop(said["id"]).set_result(outcome)
        for future in self._open.values():
            future.set_exception(RuntimeError("the talker has ended"))


def parse_answers(text: bytes, *, ended: bool) -> list[Answer]:
    """Every response in `text`; h11 judges the framing, not a parser of ours."""
    parser = h11.Connection(h11.CLIENT)
    request = h11.Request(method="POST", target="/", headers=[("host", INFERENCE)])
    answers: list[Answer] = []
    parser.receive_data(text)
    if ended:
        parser.receive_data(b"")
    while text and parser.our_state is h11.IDLE:
        parser.send(request)
        parser.send(h11.EndOfMessage())
        answer = _parse_one(parser)
        if answer.status == 0:
            break
        answers.append(answer)
        if not answer.whole or parser.our_state is not h11.DONE:
            break
        if parser.their_state is not h11.DONE:
            break
        parser.start_next_cycle()
        if not parser.trailing_data[0]:
            break
    return answers


def _parse_one(parser: h11.Connection) -> Answer:
    answer = Answer()
    while True:
        try:
            event = parser.next_event()
        except h11.RemoteProtocolError:
            return answer
        if isinstance(event, h11.InformationalResponse):
            answer.interim.append(event.status_code)
        elif isinstance(event, h11.Response):
            answer.status = event.status_code
            answer.headers = [(k.decode(), v.decode("latin-1")) for k, v in event.headers]
        elif isinstance(event, h11.Data):
            answer.body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            answer.whole = True
            return answer
        else:
            return answer
