"""Owns: getting this host's SPIFFE identity (a JWT-SVID) from the file that an agent keeps fresh.

Knows nothing of what it is shown for. Source: SPIFFE JWT-SVID standard, "JWT-SVID".
"""

import os
import stat
from pathlib import Path
from typing import Final

from netmgr.errors import BadInput, HostFailed
from netmgr.inference.profiles import validate_credential
from netmgr.secret import Secret

MAX_SVID: Final = 8192  # bytes, as any credential


def read_svid(path: Path | None) -> Secret:
    """The SVID that is in the file now.

    Args:
        path: the setting `spiffe_svid`.

    Raises:
        HostFailed: there is no such setting or file, or none of its content is a token.
    """
    if path is None:
        raise HostFailed("spiffe-token-grant needs the setting spiffe_svid: a file with a JWT-SVID")
    try:
        # O_NONBLOCK: a pipe of that name would keep the daemon waiting for ever.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise HostFailed(f"{path}: not a regular file")
            raw = os.read(fd, MAX_SVID + 1)
        finally:
            os.close(fd)
    except OSError as problem:
        raise HostFailed(f"{path}: cannot be read: {problem.strerror}") from problem
    found = Secret(raw.decode("ascii", "replace").strip())
    try:
        validate_credential("JWT-SVID", found)
    except BadInput as fault:
        raise HostFailed(f"{path}: {fault.message}") from None
    if len(found.reveal().split(".")) != 3:  # header, claims, signature: RFC 7515 §3.1
        raise HostFailed(f"{path}: no JWT-SVID is in it")
    return found
