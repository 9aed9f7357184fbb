"""Owns: mounting files into a container that is being created: its root file system stands, and the
runtime waits with the old root still there (createRuntime, OCI runtime specification, config.md).

Python has no mount(2) and, before 3.12, no setns(2).
"""

import ctypes
import os

from netmgr_cli.shim.oci.rootfs import Rootfs

CLONE_NEWNS = 0x0002_0000  # include/uapi/linux/sched.h
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 0x1, 0x2, 0x4, 0x8  # include/uapi/linux/mount.h
MS_REMOUNT, MS_BIND = 0x20, 0x1000
STRICT = MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC


def mount_into(pid: int, root: str, mounts: dict[str, str]) -> None:
    """Mount files of the host into a container. The caller stays in its mount namespace.

    Args:
        pid: the runtime's process in the container's namespaces.
        root: the container's root directory, as the host sees it.
        mounts: target in the container -> file on the host.

    Raises:
        OSError: one cannot be mounted; the message names it.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    handle = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    _check(libc.setns(handle, CLONE_NEWNS), f"enter the mount namespace of {pid}")
    os.close(handle)
    rootfs = Rootfs(root)
    try:
        for target, source in mounts.items():
            place = rootfs.place(target)
            try:
                _bind(libc, source, place, target)
            finally:
                os.close(place)
    finally:
        rootfs.close()


def _bind(libc: ctypes.CDLL, source: str, place: int, target: str) -> None:
    there = f"/proc/self/fd/{place}".encode()
    doing = f"mount {source} on {target}"
    _check(libc.mount(os.fsencode(source), there, None, ctypes.c_ulong(MS_BIND), None), doing)
    # The descriptor leads below what was mounted just now; the path leads to it.
    top = os.fsencode(os.readlink(f"/proc/self/fd/{place}"))
    flags = ctypes.c_ulong(MS_REMOUNT | MS_BIND | STRICT)
    _check(libc.mount(None, top, None, flags, None), f"{doing}, read-only")


def _check(result: int, doing: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{doing}: {os.strerror(number)}")
