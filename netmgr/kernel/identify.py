"""Owns: from a flow to the processes at its sandbox's end: the socket, its holders, what they run.

May be asked from any thread, one at a time; runs beside the kernel's own thread, so that the birth
of a sandbox holds up no connection. Knows nothing of policies.
"""

import os
import threading
from collections import OrderedDict
from typing import Final

from netmgr.kernel.facts import Flow, Netns, NetnsId, Owners, Wants
from netmgr.kernel.hashes import ProgramHashes
from netmgr.kernel.pins import open_pin
from netmgr.kernel.procid import ProcessTable
from netmgr.kernel.sleepers import version
from netmgr.kernel.sockdiag import SockDiag

# Before, questions to sock_diag waited for each other's dumps behind a lock of the whole host
# (net/core/sock_diag.c): a sandbox could hold up whoever asks.
UNLOCKED_SINCE: Final = (6, 9)
MAX_OPEN: Final = 512  # namespaces with an open socket of ours; opening one takes 60 us


class Identifier:
    """Looks owners up. One per daemon."""

    def __init__(self) -> None:
        self._at_once = version(os.uname().release) >= UNLOCKED_SINCE
        self.hashes = ProgramHashes()
        self._lock = threading.Lock()
        self._processes = ProcessTable()
        self._diags: OrderedDict[NetnsId, SockDiag] = OrderedDict()

    def owners(self, netns: Netns, flow: Flow, wants: Wants) -> Owners:
        """Who holds the near end of a flow; nobody where the socket is gone.

        Raises:
            NetmgrError: the namespace is gone, or the kernel refused.
        """
        with self._lock:
            found = self._diag(netns).find(flow)
            if found is None:
                return Owners()
            uid, inode = found
            return self._processes.owners(netns.identity, inode, uid, wants)

    def owners_again(self, netns: Netns, flow: Flow, wants: Wants) -> Owners | None:
        """What `owners` says where it is as last time; None where that takes more than a few system
        calls, or somebody else is looking: nothing in here waits, so it may be called where nobody
        must.

        Raises:
            NetmgrError: the kernel refused.
        """
        if not self._at_once or not self._lock.acquire(blocking=False):
            return None
        try:
            diag = self._diags.get(netns.identity)
            if diag is None:
                return None
            found = diag.find(flow)
            if found is None:
                return Owners()
            uid, inode = found
            return self._processes.owners_again(netns.identity, inode, uid, wants)
        finally:
            self._lock.release()

    def forget(self, netns: NetnsId) -> None:
        """The namespace has ended: an open socket would keep it alive."""
        with self._lock:
            self._processes.forget(netns)
            diag = self._diags.pop(netns, None)
        if diag is not None:
            diag.close()

    def close(self) -> None:
        """Close every socket."""
        with self._lock:
            self._processes.close()
            while self._diags:
                self._diags.popitem()[1].close()

    def _diag(self, netns: Netns) -> SockDiag:
        diag = self._diags.get(netns.identity)
        if diag is None:
            fd = open_pin(netns)
            try:
                diag = self._diags[netns.identity] = SockDiag.open_in(fd)
            finally:
                os.close(fd)
            if len(self._diags) > MAX_OPEN:
                self._diags.popitem(last=False)[1].close()
        return diag
