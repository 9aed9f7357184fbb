"""Owns: the rules helper process: it installs, verifies and shows the hub's rule set on demand.

    exec as root -> `loaded` -> `start` (enter the hub, load the backend, keep two capabilities)
    `install` | `verify` | `show` -> answer; channel closed -> exit

Single-threaded and blocking by intent: python-iptables has process-wide state and may crash or
exit the process. The daemon starts it anew; rules stand meanwhile. Speaks netmgr.process.frames
without an event loop.
"""

import array
import json
import logging
import os
import socket
from collections.abc import Callable, Collection
from typing import Any, Final, Protocol

from netmgr.errors import HostFailed, NetmgrError
from netmgr.kernel import syscalls
from netmgr.kernel.ipset import Ipset
from netmgr.kernel.ruleset import RuleSet, differences, rule_set
from netmgr.kernel.sets import SetNames
from netmgr.model import parse_instance_name
from netmgr.process.confine import keep_capabilities
from netmgr.process.ipc import MAX_FDS, READ_SIZE, Body, FrameReader, PeerClosed, encode_frame

log = logging.getLogger(__name__)

KEEP: Final = ("NET_ADMIN", "NET_RAW")
ANSWER_DEADLINE_S: Final = 10.0  # the daemon reads at once; a stuck one has ended


class Backend(Protocol):
    """How rules come into a kernel. The legacy tables are one; nftables could be another."""

    def install(self, wanted: RuleSet) -> None:
        """Make the kernel's rules be as wanted. Raises HostFailed."""

    def read(self, wanted: RuleSet) -> RuleSet:
        """What stands in the kernel, where `wanted` or anything else has rules."""

    def show(self, wanted: RuleSet) -> list[dict[str, Any]]:
        """The rules with their counters, as JSON values."""


def legacy_backend() -> Backend:
    """python-iptables; loaded only here, since loading it already changes the process."""
    from netmgr.kernel.tables import LegacyTables

    return LegacyTables()


class RulesHelper:
    """The verbs, without the channel.

    Args:
        make_backend: called once, inside the hub.
        confine: keeps only the named capabilities.
    """

    def __init__(
        self,
        make_backend: Callable[[], Backend] = legacy_backend,
        confine: Callable[[Collection[str]], None] = keep_capabilities,
    ) -> None:
        self._make_backend = make_backend
        self._confine = confine
        self._backend: Backend | None = None
        self._wanted = RuleSet({}, {})
        self._sets: tuple[str, ...] = ()

    def answer(self, what: str, body: Body, fds: tuple[int, ...]) -> Body:
        """Do what is asked.

        Raises:
            NetmgrError: it cannot be done; the message says why.
        """
        match what:
            case "start":
                return self._start(body, fds)
            case "change" | "stop":
                return {}
            case "install":
                return self._install()
            case "verify":
                return {"differences": list(self._differences())}
            case "show":
                return {"chains": self._ready().show(self._wanted)}
            case _:
                raise HostFailed(f"the rules helper does not answer {what!r}")

    def _start(self, body: Body, fds: tuple[int, ...]) -> Body:
        named = dict(zip(body["fd_names"], fds, strict=True))
        if "netns" in named:
            syscalls.setns(named["netns"], syscalls.CLONE_NEWNET)
        for fd in fds:
            os.close(fd)
        settings = body["settings"]
        instance = parse_instance_name(settings["instance"])
        names = SetNames.of(instance)
        self._wanted = rule_set(instance, settings["proxy_port"])
        self._sets = tuple(getattr(names, each) for each in names.__slots__)
        self._backend = self._make_backend()
        self._confine(KEEP)
        return {}

    def _ready(self) -> Backend:
        if self._backend is None:
            raise HostFailed("the rules helper was not started")
        return self._backend

    def _install(self) -> Body:
        """Install, read back, compare. Only equality counts as installed."""
        backend = self._ready()
        self._require_sets()
        backend.install(self._wanted)
        left = self._differences()
        if left:
            raise HostFailed(
                f"the rule set does not stand as it was written: {left[0]}"
                + (f" (and {len(left) - 1} more differences)" if len(left) > 1 else ""),
                differences=list(left),
            )
        return {"rules": sum(1 for line in self._wanted.lines() if ": -A " in line)}

    def _require_sets(self) -> None:
        """A rule that names a missing set cannot be built; say which, before anything is done."""
        ipsets = Ipset()
        try:
            standing = ipsets.names()
        finally:
            ipsets.close()
        missing = [name for name in self._sets if name not in standing]
        if missing:
            raise HostFailed(
                f"sets are missing in the hub: {', '.join(missing)}; the hub must be made first",
                missing=missing,
            )

    def _differences(self) -> tuple[str, ...]:
        return differences(self._wanted, self._ready().read(self._wanted))


def serve(sock: socket.socket, helper: RulesHelper) -> None:
    """Answer one question after the other until the daemon closes the channel or says stop."""
    reader = FrameReader()
    _send(sock, {"tell": "loaded", "body": {"pid": os.getpid()}})
    while True:
        data, fds = _receive(sock)
        if not data:
            return
        for payload, frame_fds in reader.feed(data, fds):
            message: Body = _parse(payload)
            if "ask" not in message:
                continue
            _send(sock, _reply(helper, message, frame_fds))
            if message["ask"] == "stop":
                return


def _parse(payload: bytes) -> Body:
    message = json.loads(payload)
    if not isinstance(message, dict):
        raise PeerClosed("a frame that is no object")
    return message


def _reply(helper: RulesHelper, message: Body, fds: tuple[int, ...]) -> Body:
    reply: Body = {"answer": message["id"]}
    try:
        reply["body"] = helper.answer(message["ask"], message["body"], fds)
    except NetmgrError as refusal:
        reply["error"] = {
            "code": refusal.code,
            "message": refusal.message,
            "details": refusal.details,
        }
    except Exception as fault:
        log.exception("%s failed", message["ask"])
        reply["error"] = {"code": "internal", "message": repr(fault), "details": {}}
    return reply


def _send(sock: socket.socket, message: Body) -> None:
    sock.settimeout(ANSWER_DEADLINE_S)
    sock.sendall(encode_frame(message, 0))


def _receive(sock: socket.socket) -> tuple[bytes, list[int]]:
    """Wait without a deadline: only the daemon's questions or its end give this process work."""
    sock.settimeout(None)
    fds = array.array("i")
    space = socket.CMSG_SPACE(MAX_FDS * fds.itemsize)
    data, ancillary, _, _ = sock.recvmsg(READ_SIZE, space, socket.MSG_CMSG_CLOEXEC)
    for level, kind, payload in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(payload[: len(payload) - len(payload) % fds.itemsize])
    return data, list(fds)


def main(fd: int) -> int:
    """The process: serve the channel behind `fd`. Its exit status."""
    with socket.socket(fileno=fd) as sock:
        try:
            serve(sock, RulesHelper())
        except (OSError, PeerClosed) as ended:
            log.info("the daemon is gone: %s", ended)
    return 0
