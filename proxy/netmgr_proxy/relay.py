"""Owns: moving bytes between two sockets without looking at them, through kernel pipes.

splice(2) spares both copies into this process (a third of the CPU, measured). A pipe is borrowed
only while bytes are on their way, so an idle flow holds two descriptors. Half-close goes both ways;
a reset on one side resets the other. Knows nothing of policies or names.
"""

import asyncio
import fcntl
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from netmgr_proxy.rations import Ration
from netmgr_proxy.sockets import reset
from netmgr_proxy.wire.face import Refusal

PIPE_BYTES: Final = 1024 * 1024  # the kernel's bound; a quarter of it costs a third more CPU per GB
MAX_FREE_PIPES: Final = 64  # kept for the next flow; the kernel bounds an unprivileged user's pages
_FLAGS: Final = os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK


class Pipes:
    """Empty pipes to borrow."""

    def __init__(self) -> None:
        self._free: list[tuple[int, int]] = []

    def borrow(self) -> tuple[int, int]:
        """(read end, write end).

        Raises:
            OSError: no descriptors are left.
        """
        if self._free:
            return self._free.pop()
        pipe = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        with suppress(OSError):  # over the user's soft limit of pages (pipe(7)): a small one works
            fcntl.fcntl(pipe[1], fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        return pipe

    def give_back(self, pipe: tuple[int, int], *, empty: bool) -> None:
        """Return a pipe; one with bytes in it is closed."""
        if empty and len(self._free) < MAX_FREE_PIPES:
            self._free.append(pipe)
        else:
            _close_pipe(pipe)

    def close(self) -> None:
        """Close all that are free."""
        while self._free:
            _close_pipe(self._free.pop())


def _close_pipe(pipe: tuple[int, int]) -> None:
    os.close(pipe[0])
    os.close(pipe[1])


class _Direction:
    """From `source` to `sink`, through a pipe that fills while it empties."""

    __slots__ = (
        "_held",
        "_loop",
        "_pipe",
        "_pipes",
        "_reading",
        "_relay",
        "_source_ended",
        "_writing",
        "done",
        "moved",
        "outward",
        "sink",
        "source",
        "taken",
    )

    def __init__(
        self,
        relay: "Relay",
        source: socket.socket,
        sink: socket.socket,
        pipes: Pipes,
        *,
        outward: bool,
    ) -> None:
        self._relay = relay
        self.outward = outward  # away from the sandbox
        self.taken = 0
        self._loop = asyncio.get_running_loop()
        self._pipes = pipes
        self._pipe: tuple[int, int] | None = None
        self._held = 0  # bytes in the pipe
        self._reading = False
        self._writing = False
        self._source_ended = False
        self.source = source
        self.sink = sink
        self.moved = 0
        self.done = False

    def start(self) -> None:
        self._read(True)

    def _readable(self) -> None:
        try:
            most = PIPE_BYTES if self._relay.ration is None else self._rationed()
            if most == 0:
                return
            if self._pipe is None:
                self._pipe = self._pipes.borrow()
            taken = os.splice(self.source.fileno(), self._pipe[1], most, flags=_FLAGS)
        except BlockingIOError:
            self._read(not self._held)  # the pipe is full, unless it was a false alarm
            self._release()
            return
        except OSError as fault:
            self._relay.broke(fault)
            return
        if taken:
            self._held += taken
            self.taken += taken
            if self._relay.ration is not None and not self._relay.ration.take(taken):
                self._relay.spent(self._relay.ration.hour_is_over())
                return
            self._push()
        else:
            self._source_ended = True
            self._read(False)
            self._end_if_empty()

    def _rationed(self) -> int:
        """How much may be read now; 0 where the relay has been ended for it."""
        ration = self._relay.ration
        assert ration is not None
        within = ration.left_of_request(self.taken) if self.outward else PIPE_BYTES
        most = min(PIPE_BYTES, ration.left(), within)
        if most > 0 or not self.source.recv(1, socket.MSG_PEEK):  # an end costs nothing
            return most or 1
        self._relay.spent(ration.hour_is_over() if within else ration.request_is_too_large())
        return 0

    def _push(self) -> None:
        assert self._pipe is not None
        try:
            given = os.splice(self._pipe[0], self.sink.fileno(), self._held, flags=_FLAGS)
        except BlockingIOError:
            self._write(True)
            return
        except OSError as fault:
            self._relay.broke(fault)
            return
        self._held -= given
        self.moved += given
        self._relay.touched()
        self._write(self._held > 0)
        self._release()
        if self._source_ended:
            self._end_if_empty()
        else:
            self._read(True)

    def _end_if_empty(self) -> None:
        """The source has said its last; once all of it is written, so do we."""
        if self._held:
            return
        self._release()
        self.done = True
        try:
            self.sink.shutdown(socket.SHUT_WR)
        except OSError as fault:
            self._relay.broke(fault)
            return
        self._relay.ended_one()

    def _read(self, wanted: bool) -> None:
        """Listen to the source, or not."""
        if wanted and not self._reading:
            self._loop.add_reader(self.source.fileno(), self._readable)
        elif self._reading and not wanted:
            self._loop.remove_reader(self.source.fileno())
        self._reading = wanted

    def _write(self, wanted: bool) -> None:
        """Listen for room in the sink, or not."""
        if wanted and not self._writing:
            self._loop.add_writer(self.sink.fileno(), self._push)
        elif self._writing and not wanted:
            self._loop.remove_writer(self.sink.fileno())
        self._writing = wanted

    def _release(self) -> None:
        """Give the pipe back if nothing is in it."""
        if self._pipe is not None and not self._held:
            self._pipes.give_back(self._pipe, empty=True)
            self._pipe = None

    def stop(self) -> None:
        self.done = True
        self._read(False)
        self._write(False)
        if self._pipe is not None:
            self._pipes.give_back(self._pipe, empty=not self._held)
            self._pipe = None
        self._held = 0


class Relay:
    """Two sockets joined. Owns both.

    The server's bytes flow from the beginning; the client's once `open_client` is called.

    Args:
        on_end: called once with the fault that broke it, or None after both sides' good end.
        on_spent: called once when a ration ran out; it has to end the relay.

    Attributes:
        ration: what may be moved; None: anything.
    """

    def __init__(
        self,
        client: socket.socket,
        upstream: socket.socket,
        pipes: Pipes,
        on_end: Callable[[OSError | None], None],
        on_spent: Callable[[Refusal], None],
        ration: Ration | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._to_server = _Direction(self, client, upstream, pipes, outward=True)
        self._to_client = _Direction(self, upstream, client, pipes, outward=False)
        self._on_spent = on_spent
        self.ration = ration
        self._on_end = on_end
        self._over = False
        self.client_open = False
        self.moved_at = self._loop.time()
        self._to_client.start()

    @property
    def over(self) -> bool:
        """Whether both sockets are closed."""
        return self._over

    @property
    def bytes_to_server(self) -> int:
        """Bytes of the client that the upstream's socket took."""
        return self._to_server.moved

    @property
    def bytes_to_client(self) -> int:
        """Bytes of the server that the client's socket took."""
        return self._to_client.moved

    def open_client(self) -> None:
        """Let the client's bytes flow."""
        if not self._over:
            self.client_open = True
            self._to_server.start()

    def cut(self) -> None:
        """Reset both sides, without `on_end`."""
        if not self._over:
            self._stop()
            reset(self._to_server.source)
            reset(self._to_server.sink)

    def release_client(self) -> socket.socket:
        """Give the client's socket back for a last word, and reset the upstream."""
        self._stop()
        reset(self._to_server.sink)
        return self._to_server.source

    def touched(self) -> None:
        """Bytes have moved."""
        self.moved_at = self._loop.time()

    def ended_one(self) -> None:
        """One side has ended well."""
        if self._to_server.done and self._to_client.done:
            self._stop()
            self._to_server.source.close()
            self._to_server.sink.close()
            self._on_end(None)

    def spent(self, refusal: Refusal) -> None:
        """The ration ran out."""
        if not self._over:
            self._on_spent(refusal)

    def broke(self, fault: OSError) -> None:
        """One side broke: a reset for the other."""
        if not self._over:
            self.cut()
            self._on_end(fault)

    def _stop(self) -> None:
        self._over = True
        # Whoever waits for the client's first bytes listens to this descriptor, too; closing it
        # under a listener would leave the loop with a dead one.
        self._loop.remove_reader(self._to_server.source.fileno())
        self._to_server.stop()
        self._to_client.stop()
