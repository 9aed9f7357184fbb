"""The kernel's answers about sockets: a socket, or `HostFailed`."""

from netmgr.errors import HostFailed
from netmgr.kernel.sockdiag import _parse


def fuzz(data: bytes) -> None:
    """One payload."""
    try:
        found = _parse(memoryview(data))
    except HostFailed:
        return
    assert found.identity in data
    assert max(found.local_port, found.remote_port) <= 0xFFFF
