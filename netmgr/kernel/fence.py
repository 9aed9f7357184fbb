"""Owns: where errors of the kernel end: OSError in, HostFailed with what was being done out."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from netmgr.errors import HostFailed

_REMEDIES = {
    errno.EPERM: "netmgr needs root with CAP_NET_ADMIN and CAP_SYS_ADMIN",
    errno.EMFILE: "raise the daemon's limit of open files (LimitNOFILE)",
    errno.ENFILE: "raise fs.file-max",
    errno.ENOBUFS: "raise net.core.rmem_max, or the machine is out of memory",
    errno.ENOSPC: "raise user.max_net_namespaces and user.max_mnt_namespaces",
}


@contextmanager
def kernel_errors(doing: str) -> Iterator[None]:
    """Turn an OSError of the block into HostFailed, with what was being done and a remedy.

    Raises:
        HostFailed: instead of OSError; `details` holds `errno`'s name.
    """
    try:
        yield
    except OSError as refusal:
        name = errno.errorcode.get(refusal.errno or 0, "unknown")
        why = refusal.strerror or str(refusal)
        remedy = _REMEDIES.get(refusal.errno or 0)
        text = f"{doing}: {why}" + (f"; {remedy}" if remedy else "")
        raise HostFailed(text, errno=name) from refusal
