"""The watch worker on a real log socket: a denial is told at once, a loud link is named."""

import asyncio
import os
import socket
from typing import Any

import pytest
from netns.hub_stage import HubStage, ipv4, send_frames, udp

from netmgr.kernel import netns
from netmgr.kernel.watcher import LOUD, WatchRole
from netmgr.process.ipc import Body, Peer

pytestmark = pytest.mark.root


def watch(stage: HubStage, act: Any, enough: Any) -> list[tuple[str, Body]]:
    """What the worker tells while `act` runs, until `enough` says so."""
    told: list[tuple[str, Body]] = []

    async def live() -> None:
        ours, theirs = socket.socketpair()
        done = asyncio.Event()

        def on_tell(what: str, body: Body, fds: tuple[int, ...]) -> None:
            told.append((what, body))
            if enough(told):
                done.set()

        daemon, worker = Peer(ours, on_tell=on_tell), Peer(theirs)
        role = WatchRole()
        role.open({}, {"nflog": os.dup(stage.listeners.nflog)}, worker)
        role.serve()
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, act)
        async with asyncio.timeout(5):
            await done.wait()
        answer = await role.on_ask("statistics", {}, ())
        told.append(("statistics", answer.body))
        await role.close()
        worker.close()
        daemon.close()

    fd = os.open(stage.spec.netns_dir / stage.spec.hub_netns, os.O_RDONLY)
    with netns.entered(fd):  # link names are looked up where the worker lives
        asyncio.run(live())
    os.close(fd)
    return told


def test_a_denial_is_told_at_once(stage: HubStage) -> None:
    box = stage.sandbox(2)

    def dial() -> None:
        with socket.socket() as sock:
            assert sock.connect_ex(("192.0.2.1", 8080)) != 0

    told = watch(stage, lambda: box.run(dial), bool)
    what, body = told[0]
    assert what == "denied"
    assert body.pop("sport") > 0
    assert body == {
        "link": "nm2",
        "address": box.address,
        "group": 5,
        "ip": "192.0.2.1",
        "port": 8080,
        "protocol": "tcp",
        "count": 1,
    }
    assert told[-1][1]["lost"] == 0


def test_a_loud_link_is_named(stage: HubStage) -> None:
    box = stage.sandbox(2)
    packet = ipv4("8.8.8.8", "192.0.2.1", 17, udp(1, 2))
    told = watch(
        stage,
        lambda: send_frames(box, packet, times=LOUD),
        lambda told: any(what == "spoofing" for what, _ in told),
    )
    assert told[0][1]["link"] == "nm2"
    assert told[0][1]["group"] == 6
    assert ("spoofing", {"link": "nm2"}) in told
    assert told[-1][1] == {"events": LOUD, "lost": 0}
