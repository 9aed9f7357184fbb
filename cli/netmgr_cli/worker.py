"""Owns: what each worker process is made of. One of the two composition roots (daemon.py is the
other): only they know every room.

Run by the daemon as `python -I -m netmgr_cli.worker KIND FD`, with FD one end of a channel.
"""

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable

from netmgr.process.confine import install_filter
from netmgr.process.seccomp import ABIS, DIALER_FAMILIES, HUB_FAMILIES, socket_filter
from netmgr.process.worker import Role, WorkerLife


def _dns() -> Role:
    from netmgr_dns.server import DnsRole

    return DnsRole()


def _proxy() -> Role:
    from netmgr_proxy.server import ProxyRole

    return ProxyRole()


def _dialer() -> Role:
    from netmgr.dialer.dialer import DialerRole
    from netmgr_dns.stub import StubResolver

    return DialerRole(StubResolver)


def _watch() -> Role:
    from netmgr.kernel.watcher import WatchRole

    return WatchRole()


def _scan() -> Role:
    from netmgr_proxy.scan.role import ScanRole

    return ScanRole()


ROLES: dict[str, Callable[[], Role]] = {
    "dns": _dns,
    "proxy": _proxy,
    "dialer": _dialer,
    "watch": _watch,
    "scan": _scan,
}
ON_UVLOOP = frozenset({"dns", "proxy"})


def main(arguments: list[str]) -> int:
    """Run one worker; its exit status. `program UID:GID COMMAND...` becomes that command, and
    `plug-in UID:GID KIND NAME` the process of that router plug-in."""
    kind = arguments[0]
    if kind == "program":
        from netmgr.process.program import become_program

        become_program(arguments[1], arguments[2:])
    if kind == "plug-in":
        from netmgr.process.program import give_everything_up
        from netmgr_proxy import plugin_host

        give_everything_up(arguments[1])
        return plugin_host.main(*arguments[2:])
    fd = int(arguments[1])
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format=f"netmgr {kind}: %(levelname)s %(message)s"
    )
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the terminal's signals are the daemon's to judge
    if kind == "rules":
        from netmgr.kernel.rules_helper import main as rules_main

        return rules_main(fd)
    # Before the event loop exists: libuv makes an io_uring where it can, and a ring that was made
    # by root outlives the giving up of privileges. Nor is any exotic socket family of use here.
    machine = os.uname().machine
    if machine not in ABIS:
        raise SystemExit(f"no socket filter for {machine}: known are {', '.join(ABIS)}")
    install_filter(socket_filter(machine, DIALER_FAMILIES if kind == "dialer" else HUB_FAMILIES))
    sock = socket.socket(fileno=fd)
    life = WorkerLife
    role = ROLES[kind]()
    gc.freeze()  # what is imported stays: keep it out of every collection
    if kind in ON_UVLOOP:
        import uvloop

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(life(role).run(sock))
    return asyncio.run(life(role).run(sock))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
