"""Owns: attending a running command: signals go in, its status comes out, and on a terminal the
bytes of both directions pass between the host's terminal and the sandbox's own.
"""

import contextlib
import errno
import fcntl
import os
import selectors
import signal
import socket
import sys
import termios
import time
import tty
from collections.abc import Iterator
from typing import Final

from netmgr_cli.streams import Streams

CHUNK: Final = 64 * 1024
MAX_TYPED: Final = 256 * 1024  # bytes typed or pasted that the command has not read yet
DRAIN_S: Final = 2.0  # what a terminal still holds after its last writer has gone comes at once


def attend(pid: int, wake: socket.socket, terminal: int | None, streams: Streams) -> int:
    """Wait for init (`pid`) to end.

    Args:
        wake: gives a byte per signal that this process got.
        terminal: master of the sandbox's pseudo terminal; closed here.
        streams: where there is none: what stands for those streams that are the host's.

    Returns:
        The exit status, as `enter` has it.
    """
    if terminal is None:
        return _Attendance(pid, wake, None, streams).run()
    try:
        with _raw_terminal(terminal):
            return _Attendance(pid, wake, terminal, streams).run()
    finally:
        os.close(terminal)


@contextlib.contextmanager
def _raw_terminal(master: int) -> Iterator[None]:
    """Hand every key to the inner terminal, which has the outer one's settings (inside.py)."""
    saved = termios.tcgetattr(0)
    _copy_size(master)  # it may have changed since
    tty.setraw(0, termios.TCSADRAIN)
    try:
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, saved)


def _copy_size(master: int) -> None:
    with contextlib.suppress(OSError):  # the terminal is going: its size does not matter any more
        fcntl.ioctl(master, termios.TIOCSWINSZ, fcntl.ioctl(0, termios.TIOCGWINSZ, bytes(8)))


class _Attendance:
    """One loop over signals, keyboard and inner terminal."""

    def __init__(
        self, pid: int, wake: socket.socket, terminal: int | None, streams: Streams
    ) -> None:
        self._pid = pid
        self._wake = wake
        self._terminal = terminal
        self._streams = streams
        self._terminal_ended = terminal is None
        self._typed = b""
        self._status: int | None = None
        self._selector = selectors.DefaultSelector()
        self._selector.register(wake, selectors.EVENT_READ, self._signalled)
        if terminal is not None:
            os.set_blocking(terminal, False)
            self._selector.register(0, selectors.EVENT_READ, self._keyboard)
            self._selector.register(terminal, selectors.EVENT_READ, self._inner)
        streams.attend(self._selector)

    def run(self) -> int:
        """Until init has ended and its last words are out."""
        with self._selector:
            self._reap()  # it may have ended before signals were taken as bytes
            while self._status is None:
                for key, events in self._selector.select():
                    key.data(events)
            self._drain()
        assert self._status is not None
        return self._status

    def _signalled(self, _: int) -> None:
        for number in self._wake.recv(CHUNK):
            if number == signal.SIGCHLD:
                self._reap()
            elif number == signal.SIGWINCH:
                if self._terminal is not None:
                    _copy_size(self._terminal)
            else:
                if number == signal.SIGCONT:
                    self._streams.listen(self._selector)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self._pid, number)

    def _reap(self) -> None:
        if self._status is not None:
            return
        done, status = os.waitpid(self._pid, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
            self._status = code if code >= 0 else 128 - code

    def _keyboard(self, _: int) -> None:
        try:
            data = os.read(0, CHUNK)
        except OSError as error:
            if error.errno != errno.EIO:  # EIO: the outer terminal was hung up
                raise
            data = b""
        if not data:
            self._selector.unregister(0)
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGHUP)
            return
        self._typed += data
        self._pass_on()

    def _pass_on(self) -> None:
        """Give the inner terminal what was typed; read no more than MAX_TYPED ahead of it."""
        if self._terminal is None or self._terminal_ended:
            return
        try:
            while self._typed:
                self._typed = self._typed[os.write(self._terminal, self._typed) :]
        except BlockingIOError:
            pass
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            self._end_terminal()
            return
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._typed else 0)
        self._selector.modify(self._terminal, events, self._inner)
        self._listen_to_keyboard(len(self._typed) < MAX_TYPED)

    def _listen_to_keyboard(self, wanted: bool) -> None:
        listening = 0 in self._selector.get_map()
        if wanted and not listening:
            self._selector.register(0, selectors.EVENT_READ, self._keyboard)
        elif listening and not wanted:
            self._selector.unregister(0)

    def _inner(self, events: int) -> None:
        if events & selectors.EVENT_WRITE:
            self._pass_on()
        if events & selectors.EVENT_READ:
            self._show()

    def _show(self) -> None:
        """Show what the inner terminal has."""
        if self._terminal is None or self._terminal_ended:
            return
        try:
            data = os.read(self._terminal, CHUNK)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.EIO:  # EIO: nobody holds the other side, pty(7)
                raise
            data = b""
        if not data:
            self._end_terminal()
            return
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()

    def _end_terminal(self) -> None:
        """Nobody is left inside to read or write; what is typed now is for whoever comes next."""
        if not self._terminal_ended:
            self._terminal_ended = True
            self._selector.unregister(self._terminal)  # type: ignore[arg-type]  # it is registered
            self._listen_to_keyboard(False)

    def _drain(self) -> None:
        deadline = time.monotonic() + DRAIN_S
        while not self._terminal_ended and time.monotonic() < deadline:
            self._show()
        self._streams.drain()
