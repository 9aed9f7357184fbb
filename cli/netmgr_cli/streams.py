"""Owns: standing between a command and the host's terminal, where not all of its standard streams
are one (`netmgr run ... < file`, `... | tee log`): then it has no terminal of its own.

A descriptor of the host's terminal is a way to what is typed there, long after the command went to
the background, and through /proc/self/fd in both directions. So the command gets pipes.
"""

import contextlib
import errno
import os
import selectors
from collections.abc import Callable
from typing import Any, Final

CHUNK: Final = 64 * 1024
STDIN: Final = 0
OUTPUTS: Final = (1, 2)

Selector = selectors.BaseSelector


class Streams:
    """Pipes in place of those standard streams that are the host's terminal.

    Made before the fork; the child calls `take`, the parent `attend` and, at the end, `close`.
    """

    def __init__(self, *, interactive: bool) -> None:
        self._inner: dict[int, int] = {}
        self._outer: dict[int, int] = {}
        self._typed = b""
        self._listening = False
        if interactive:  # then it gets a terminal of its own
            return
        for number in (STDIN, *OUTPUTS):
            if os.isatty(number):
                read, write = os.pipe()
                inner, outer = (read, write) if number == STDIN else (write, read)
                self._inner[number], self._outer[number] = inner, outer

    # -- the child ---------------------------------------------------------------------------

    def take(self) -> None:
        """Put the pipes where the terminal was. The caller closes everything else."""
        for number, fd in self._inner.items():
            os.dup2(fd, number)

    # -- the parent --------------------------------------------------------------------------

    def attend(self, selector: Selector) -> None:
        """Relay from now on. The selector's data is what to call with the events."""
        self._close_inner()
        for number in OUTPUTS:
            if number in self._outer:
                show = self._shower(selector, number)
                selector.register(self._outer[number], selectors.EVENT_READ, show)
        if STDIN in self._outer:
            os.set_blocking(self._outer[STDIN], False)
            self.listen(selector)

    def listen(self, selector: Selector) -> None:
        """Read what is typed, while that is ours to read: in the foreground (credentials(7)).
        Called again when the process was continued."""
        if STDIN in self._outer and not self._listening and not self._typed and _in_foreground():
            selector.register(STDIN, selectors.EVENT_READ, lambda _: self._type(selector))
            self._listening = True

    def drain(self) -> None:
        """Show what is still in the pipes; nobody writes any more."""
        for number in OUTPUTS:
            if number in self._outer:
                os.set_blocking(self._outer[number], False)
                with contextlib.suppress(BlockingIOError):
                    while data := os.read(self._outer[number], CHUNK):
                        _write_all(number, data)

    def close(self) -> None:
        """Close every pipe. May be called twice."""
        self._close_inner()
        while self._outer:
            os.close(self._outer.popitem()[1])

    def _close_inner(self) -> None:
        while self._inner:
            os.close(self._inner.popitem()[1])

    def _shower(self, selector: Selector, number: int) -> Callable[[Any], None]:
        def show(_: Any) -> None:
            data = os.read(self._outer[number], CHUNK)
            if data:
                _write_all(number, data)
            else:
                selector.unregister(self._outer[number])

        return show

    def _type(self, selector: Selector) -> None:
        self._quiet(selector)
        if not _in_foreground():
            return  # `listen` is called when we are continued there
        try:
            self._typed = os.read(STDIN, CHUNK)
        except OSError as gone:
            if gone.errno != errno.EIO:  # EIO: the terminal was hung up
                raise
        if self._typed:
            events = selectors.EVENT_WRITE
            selector.register(self._outer[STDIN], events, lambda _: self._pass_on(selector))
        else:  # the end of what is typed (Ctrl-D)
            os.close(self._outer.pop(STDIN))

    def _pass_on(self, selector: Selector) -> None:
        try:
            self._typed = self._typed[os.write(self._outer[STDIN], self._typed) :]
        except BlockingIOError:
            return
        except BrokenPipeError:  # nobody inside reads
            selector.unregister(self._outer[STDIN])
            os.close(self._outer.pop(STDIN))
            return
        if not self._typed:
            selector.unregister(self._outer[STDIN])
            self.listen(selector)

    def _quiet(self, selector: Selector) -> None:
        selector.unregister(STDIN)
        self._listening = False


def _in_foreground() -> bool:
    try:
        return os.tcgetpgrp(STDIN) == os.getpgrp()
    except OSError:  # not this session's terminal: nobody stops us for reading
        return True


def _write_all(fd: int, data: bytes) -> None:
    with contextlib.suppress(BrokenPipeError):
        while data:
            data = data[os.write(fd, data) :]
