"""Owns: network namespaces as such: making, pinning, opening, entering, listing, removing.

Knows nothing of links, rules or sandboxes. A namespace is made without a fork: the thread leaves
for a new one, pins it through /proc/thread-self/ns/net and comes back (a tenth of the cost of a
child process). Entering is per thread (setns(2)), so callers stay in one thread.
"""

import errno
import fcntl
import logging
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, TypeVar

from netmgr.errors import BadInput, Conflict, NotFound
from netmgr.kernel import syscalls
from netmgr.kernel.facts import NetnsId
from netmgr.kernel.fence import kernel_errors

log = logging.getLogger(__name__)

T = TypeVar("T")

OWN: Final = Path("/proc/thread-self/ns/net")
NS_GET_NSTYPE: Final = 0xB703  # include/uapi/linux/nsfs.h: _IO(0xb7, 0x3)
_CLOSE: Final = os.O_RDONLY | os.O_CLOEXEC


def prepare_directory(directory: Path) -> None:
    """Make the directory of named namespaces as ip-netns(8) does: a shared mount point.

    Shared, so that a namespace pinned in one mount namespace is unpinned in all of them: without
    it a deleted sandbox would live on in every container that was started meanwhile.

    Raises:
        HostFailed: it cannot be made or mounted.
    """
    with kernel_errors(f"prepare {directory}"):
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        try:
            syscalls.mount("", directory, syscalls.MS_SHARED | syscalls.MS_REC)
        except OSError as refusal:
            if refusal.errno != errno.EINVAL:  # EINVAL: not a mount point yet
                raise
            syscalls.mount(str(directory), directory, syscalls.MS_BIND | syscalls.MS_REC)
            syscalls.mount("", directory, syscalls.MS_SHARED | syscalls.MS_REC)


def open_own() -> int:
    """A descriptor of the namespace that the calling thread is in."""
    return os.open(OWN, _CLOSE)


def open_path(path: Path) -> int:
    """Open a namespace by path and make sure that it is one.

    Raises:
        NotFound: nothing there.
        BadInput: something else is there.
    """
    try:
        fd = os.open(path, _CLOSE | os.O_NONBLOCK | os.O_NOCTTY)
    except (FileNotFoundError, ProcessLookupError, NotADirectoryError) as absent:
        raise NotFound(f"{path}: no such network namespace") from absent
    except OSError as refusal:
        raise BadInput(f"{path}: {refusal.strerror}") from refusal
    try:
        if not is_netns(fd):
            raise BadInput(
                f"{path}: not a network namespace; expected a file such as /run/netns/NAME "
                "or /proc/PID/ns/net"
            )
    except BaseException:
        os.close(fd)
        raise
    return fd


def is_netns(fd: int) -> bool:
    """Whether a descriptor is a network namespace (not a plain file, not another kind).

    ioctl NS_GET_NSTYPE gives the CLONE_NEW... value (ioctl_ns(2)); other files refuse it.
    """
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        return False  # an ioctl on a device could mean anything
    try:
        return fcntl.ioctl(fd, NS_GET_NSTYPE) == syscalls.CLONE_NEWNET
    except OSError:
        return False


def identity(fd: int) -> NetnsId:
    """What the namespace is, whatever path led to it."""
    found = os.fstat(fd)
    return NetnsId(found.st_dev, found.st_ino)


def create(path: Path) -> NetnsId:
    """Make a namespace and pin it at `path`. The calling thread is back where it was.

    Raises:
        Conflict: something stands at `path`.
        HostFailed: the kernel refused; nothing is left at `path`.
    """
    home = open_own()
    try:
        with _reserved(path), kernel_errors(f"make network namespace {path.name}"):
            syscalls.unshare(syscalls.CLONE_NEWNET)
            try:
                syscalls.mount(str(OWN), path, syscalls.MS_BIND)
                made = os.stat(OWN)
            finally:
                _go_home(home)
        return NetnsId(made.st_dev, made.st_ino)
    finally:
        os.close(home)


def pin(fd: int, path: Path) -> None:
    """Pin an open namespace at `path`.

    Raises:
        Conflict: something stands at `path`.
        HostFailed: the kernel refused; nothing is left at `path`.
    """
    with _reserved(path), kernel_errors(f"pin network namespace {path.name}"):
        syscalls.mount(f"/proc/self/fd/{fd}", path, syscalls.MS_BIND)


@contextmanager
def _reserved(path: Path) -> Iterator[None]:
    """An empty file at `path` to mount on; gone again where the block fails."""
    try:
        fd = os.open(path, _CLOSE | os.O_CREAT | os.O_EXCL, 0o000)
    except FileExistsError as taken:
        raise Conflict(f"{path} exists") from taken
    except OSError as refusal:
        with kernel_errors(f"make {path}"):
            raise refusal
    os.close(fd)
    try:
        yield
    except BaseException:
        os.unlink(path)
        raise


def delete(path: Path) -> None:
    """Remove a pin, if there is one. The namespace ends with its last user.

    Raises:
        HostFailed: it is there and cannot be removed.
    """
    with kernel_errors(f"remove network namespace {path.name}"):
        try:
            syscalls.umount(path)
        except OSError as refusal:
            # EINVAL: a file without a mount, left by a creation that was killed half-way
            if refusal.errno not in (errno.ENOENT, errno.EINVAL):
                raise
        with suppress(FileNotFoundError):
            os.unlink(path)


def list_pins(directory: Path, prefix: str) -> list[Path]:
    """Pins in `directory` whose name begins with `prefix`, in name order."""
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return []
    return sorted(directory / name for name in names if name.startswith(prefix))


def _go_home(home: int) -> None:
    """Back to the namespace that the thread came from, or no further at all.

    A thread that stays in a sandbox's namespace would do the next call's work there, so there is
    nothing to go on with: the process ends, the fence stands, the supervisor starts it anew.
    """
    try:
        syscalls.setns(home, syscalls.CLONE_NEWNET)
    except OSError:
        log.critical("cannot return to the host's network namespace", exc_info=True)
        os.abort()


@contextmanager
def entered(fd: int) -> Iterator[None]:
    """The block runs inside the namespace behind `fd`; the thread is back afterwards.

    Raises:
        HostFailed: it cannot be entered.
    """
    home = open_own()
    try:
        with kernel_errors("enter a network namespace"):
            syscalls.setns(fd, syscalls.CLONE_NEWNET)
        try:
            yield
        finally:
            _go_home(home)
    finally:
        os.close(home)


def in_namespace(fd: int, work: Callable[[], T]) -> T:
    """What `work` gives when it runs inside the namespace behind `fd`."""
    with entered(fd):
        return work()
