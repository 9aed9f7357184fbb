"""Owns: scripted model providers on a thread that lives in a namespace of a world.

Knows nothing of netmgr's routes. What they saw is netmgr.testing.model_server's record.
"""

import asyncio
import contextlib
import ssl
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from world.namespaces import Namespace, inside

from netmgr.testing.model_script import parse_script
from netmgr.testing.model_server import ModelServer, running_model_server

START_S: Final = 10.0
TURN_S: Final = 0.05  # transports that were aborted end in the loop's next turns
EVENT_S: Final = 3.0  # what happened at the provider is recorded there by then

Event = dict[str, Any]


class Provider:
    """One model server, listening in `namespace`. `close` it."""

    def __init__(
        self, namespace: Namespace, address: str, port: int, tls: ssl.SSLContext | None = None
    ) -> None:
        self._where = (namespace, address, port, tls)
        self._loop = asyncio.new_event_loop()
        self._end = asyncio.Event()
        self._started = threading.Event()
        self._server = ModelServer()
        self._thread = threading.Thread(target=self._run, name="provider", daemon=True)
        self._thread.start()
        assert self._started.wait(START_S), "the provider does not start"

    def play(self, rules: list[dict[str, Any]]) -> None:
        """Replace the script, and forget what was seen."""
        script = parse_script(rules)

        def change(server: ModelServer) -> None:
            server.script = script
            server.events.clear()

        self._ask(change)

    @property
    def events(self) -> list[Event]:
        """Everything since `play`."""
        return self._ask(lambda server: list(server.events))

    @property
    def requests(self) -> list[Event]:
        """The requests since `play`, oldest first."""
        return [event for event in self.events if event["event"] == "request"]

    def wait_event(self, fits: Callable[[Event], bool], deadline_s: float = EVENT_S) -> Event:
        """The first event that fits.

        Raises:
            AssertionError: none came in time.
        """
        deadline = time.monotonic() + deadline_s
        while True:
            found = next(filter(fits, self.events), None)
            if found is not None:
                return found
            assert time.monotonic() < deadline, f"no such event at the provider: {self.events}"
            time.sleep(0.02)

    def close(self) -> None:
        """End it with its connections."""
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(START_S)
        assert not self._thread.is_alive(), "the provider does not end"

    def _ask(self, work: Callable[[ModelServer], Any]) -> Any:
        async def do() -> Any:
            return work(self._server)

        return asyncio.run_coroutine_threadsafe(do(), self._loop).result(EVENT_S)

    def _run(self) -> None:
        namespace, address, port, tls = self._where
        # A socket belongs to the namespace that its thread was in when it was made.
        with inside(namespace.path), contextlib.closing(self._loop):
            self._loop.run_until_complete(self._serve(address, port, tls))

    async def _serve(self, address: str, port: int, tls: ssl.SSLContext | None) -> None:
        async with running_model_server(address, port, tls=tls) as server:
            self._server = server
            self._started.set()
            await self._end.wait()
        await asyncio.sleep(TURN_S)
