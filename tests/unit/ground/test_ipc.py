"""The channel between processes: order, descriptors, deadlines, ends."""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable

import pytest
import uvloop

from netmgr.ipc import Answer, Body, Peer, PeerClosed, PeerRefused

Loops = [asyncio.new_event_loop, uvloop.new_event_loop]


def run(test: Callable[[], Awaitable[None]], loop_factory: Callable[[], asyncio.AbstractEventLoop]):
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(test())


def pair(**kwargs: object) -> tuple[Peer, Peer]:
    a, b = socket.socketpair()
    return Peer(a), Peer(b, **kwargs)


async def echo(what: str, body: Body, fds: tuple[int, ...]) -> Answer:
    return Answer({"what": what, **body}, fds)


@pytest.mark.parametrize("loop", Loops)
def test_an_answer_brings_fields_and_descriptors(loop):
    async def main():
        a, b = pair(on_ask=echo)
        read, write = os.pipe()
        answer = await a.ask("x", {"n": 1, "text": "ü"}, fds=[write])
        assert answer.body == {"what": "x", "n": 1, "text": "ü"}
        os.write(answer.fds[0], b"through")
        assert os.read(read, 16) == b"through"
        for fd in (read, write, *answer.fds):
            os.close(fd)
        a.close()
        b.close()

    run(main, loop)


@pytest.mark.parametrize("loop", Loops)
def test_messages_larger_than_the_socket_buffer_keep_order_and_descriptors(loop):
    async def main():
        seen: list[tuple[int, int]] = []
        done = asyncio.Event()

        def on_tell(what: str, body: Body, fds: tuple[int, ...]) -> None:
            seen.append((body["n"], len(fds)))
            for fd in fds:
                os.close(fd)
            if body["n"] == 39:
                done.set()

        a, b = pair(on_tell=on_tell)
        with open(os.devnull) as null:
            for n in range(40):
                a.tell("big", {"n": n, "pad": "p" * 100_000}, fds=[null.fileno()] * (n % 3))
        async with asyncio.timeout(10):
            await done.wait()
        assert seen == [(n, n % 3) for n in range(40)]
        a.close()
        b.close()

    run(main, loop)


def test_a_refusal_arrives_with_its_code():
    async def main():
        async def refuse(what: str, body: Body, fds: tuple[int, ...]) -> Answer:
            raise PeerRefused("port_not_allowed", "not that one", {"port": 22})

        a, b = pair(on_ask=refuse)
        with pytest.raises(PeerRefused, match="not that one") as caught:
            await a.ask("x")
        assert (caught.value.code, caught.value.details) == ("port_not_allowed", {"port": 22})
        a.close()
        b.close()

    run(main, asyncio.new_event_loop)


def test_a_late_answer_is_dropped_and_its_descriptors_closed():
    async def main():
        release = asyncio.Event()

        async def late(what: str, body: Body, fds: tuple[int, ...]) -> Answer:
            await release.wait()
            return Answer({}, (os.open(os.devnull, os.O_RDONLY),))

        a, b = pair(on_ask=late)
        before = len(os.listdir("/proc/self/fd"))
        with pytest.raises(TimeoutError):
            await a.ask("x", deadline_s=0.02)
        release.set()
        await asyncio.sleep(0.05)
        assert len(os.listdir("/proc/self/fd")) == before
        a.close()
        b.close()

    run(main, asyncio.new_event_loop)


def test_the_end_of_one_side_fails_what_the_other_waits_for():
    async def main():
        async def never(what: str, body: Body, fds: tuple[int, ...]) -> Answer:
            await asyncio.sleep(60)
            return Answer()

        closed = asyncio.Event()
        a, b = pair(on_ask=never)
        a.on_close = closed.set
        waiting = asyncio.ensure_future(a.ask("x"))
        await asyncio.sleep(0)
        b.close()
        with pytest.raises(PeerClosed):
            await waiting
        assert closed.is_set()
        with pytest.raises(PeerClosed):
            a.tell("x")

    run(main, asyncio.new_event_loop)


def test_garbage_ends_the_channel_and_nothing_else():
    async def main():
        raw, ours = socket.socketpair()
        ended = asyncio.Event()
        Peer(ours, on_close=ended.set)
        raw.send(b"\xff" * 64)
        async with asyncio.timeout(5):
            await ended.wait()
        raw.close()

    run(main, asyncio.new_event_loop)
